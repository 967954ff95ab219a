"""The flights in DVC: a Git repository and a remote made from nothing, pushed, trained on at a commit, and traced back to it.

    python examples/flights/demo_dvc.py --until 2013-06

leaves everything below `examples/flights/.ratchet/demo-dvc`: `lake` is the repository, `remote` holds the data.
"""

from demo import demonstration

with demonstration("demo-dvc", "Train on flights that DVC tracks.") as demo:
    demo.environment |= {
        "GIT_AUTHOR_NAME": "Demo",
        "GIT_AUTHOR_EMAIL": "demo@example.com",
        "GIT_COMMITTER_NAME": "Demo",
        "GIT_COMMITTER_EMAIL": "demo@example.com",
        "DVC_NO_ANALYTICS": "true",
    }
    for command in (
        "git init --quiet --initial-branch=main lake",
        "dvc --cd lake init --quiet",
        "dvc --cd lake remote add --quiet --default store ../remote",
        "git -C lake add --all",
        "git -C lake commit --quiet --message Begun",
    ):
        demo.command(*command.split())
    for table in ("flights", "weather", "planes.csv"):
        demo.command("ratchet", "data", "push", f"data/{table}", f"dvc://lake:{table}")
    demo.read_from("dvc://lake@main:")
    demo.train()
    demo.train()
    demo.command("ratchet", "status")
    demo.command("ratchet", "model", "trace", "flights@champion")
