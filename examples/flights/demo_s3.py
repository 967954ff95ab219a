"""The flights in a versioned bucket: pushed, trained on, overwritten under our feet, and still traced back and made again.

    python examples/flights/demo_s3.py --until 2013-06

starts an S3 server of its own, which keeps the bucket in memory; the project stays below `examples/flights/.ratchet/demo-s3`.
"""

import logging
import os

import boto3
from demo import demonstration
from moto.server import ThreadedMotoServer

LAKE = "s3://lake/nyc"

logging.getLogger("werkzeug").setLevel(logging.ERROR)  # a line for every request
server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
server.start()
try:
    host, port = server.get_host_and_port()
    os.environ["AWS_ENDPOINT_URL"] = f"http://{host}:{port}"
    os.environ |= dict.fromkeys(("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"), "demonstration")
    os.environ["AWS_REGION"] = os.environ["AWS_DEFAULT_REGION"] = "us-east-1"
    s3 = boto3.client("s3")
    s3.create_bucket(Bucket="lake")
    s3.put_bucket_versioning(Bucket="lake", VersioningConfiguration={"Status": "Enabled"})
    with demonstration("demo-s3", "Train on flights in a bucket that keeps versions.") as demo:
        demo.command("ratchet", "data", "push", "data", LAKE)
        demo.read_from(f"{LAKE}/")
        demo.train()
        demo.train()

        print("\nsomeone writes over an object that the model was trained on")
        s3.put_object(Bucket="lake", Key="nyc/flights/2013-01.parquet", Body=b"not a table any more")
        demo.command("ratchet", "data", "status", expected=(1,))
        demo.command("ratchet", "model", "trace", "--data", "flights/2013-01.parquet")
        demo.command("ratchet", "model", "trace", "flights@champion")
        demo.command("ratchet", "model", "reproduce", "flights", "1")
finally:
    server.stop()
