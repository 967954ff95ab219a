-- One row a flight, with what is known when it is scheduled, the weather of that hour and the plane's make.
-- Cancelled flights have no arrival delay: they can be neither late nor on time, and are left out.
WITH traffic AS (
    SELECT origin, time_hour, COUNT(*) AS departures_in_hour
    FROM flights
    GROUP BY origin, time_hour
)
SELECT
    CONCAT_WS('-', f.year, f.month, f.day, f.carrier, f.flight, f.origin) AS flight_id,
    f.time_hour,
    CAST(f.arr_delay >= 15 AS INT) AS late,
    f.carrier,
    f.origin,
    f.dest,
    f.distance,
    CAST(f.hour AS DOUBLE) + f.minute / 60.0 AS scheduled_hour,
    EXTRACT(ISODOW FROM f.time_hour) AS weekday,
    t.departures_in_hour,
    w.temp,
    w.dewp,
    w.humid,
    w.wind_dir,
    w.wind_speed,
    w.wind_gust,
    w.precip,
    w.pressure,
    w.visib,
    f.year - p.year AS plane_age,
    p.manufacturer,
    p.seats,
    p.engine
FROM flights AS f
JOIN traffic AS t ON f.origin = t.origin AND f.time_hour = t.time_hour
LEFT JOIN weather AS w ON f.origin = w.origin AND f.time_hour = w.time_hour
LEFT JOIN planes AS p ON f.tailnum = p.tailnum
WHERE f.arr_delay IS NOT NULL
