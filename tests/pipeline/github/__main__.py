"""A GitHub on this machine, which runs the workflows of a repository.

Reads one JSON object a line: first the settings of world.World, then what is to happen, and
answers each with one line: {"error": …}, or
  {"do": "start", "workflow", "event", "inputs", "fork"}     the number of the run
  {"do": "commit", "files"}                                   the hash of a commit on main
  {"do": "settle"}                                            all runs, once nothing moves any more
  {"do": "approve" | "reject", "run", "environment"}
  {"do": "bad", "commits"}                                    whose images answer with 503
  {"do": "environment", "variables"}                          which every step has from now on
  {"do": "service", "address"}                                what all balancers stand for
  {"do": "messages" | "comments" | "sessions" | "most"}       what has happened
  {"do": "evaluate", "text", "contexts"}                      the value of an expression
"""

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

from errors import WorkflowError
from expressions import evaluate, fill
from world import World


def play(world: World, command: dict[str, Any]) -> Any:
    match command.pop("do"):
        case "start":
            return world.start(**command).number
        case "commit":
            return world.commit(command["files"], "More")
        case "settle":
            world.schedule.settle()
            return [run.described() for run in world.schedule.runs]
        case "approve" | "reject" as what:
            run = world.schedule.runs[command["run"] - 1]
            return world.schedule.review(run, command["environment"], what == "approve")
        case "environment":
            world.environment |= command["variables"]
        case "bad":
            world.server.bad = set(command["commits"])
        case "service":
            world.server.service = f"http://{command['address']}"
        case "messages":
            return world.server.messages
        case "comments":
            return world.server.comments
        case "sessions":
            return world.account.sessions
        case "most":
            return world.schedule.most
        case "evaluate":
            return evaluate(command["text"], command["contexts"])
        case "fill":
            return fill(command["text"], command["contexts"])
        case unknown:
            raise WorkflowError(f"{unknown}: not known")


with tempfile.TemporaryDirectory() as folder:
    world = None
    for line in sys.stdin:
        try:
            said = json.loads(line)
            if world:
                answer = {"ok": play(world, said)}
            else:
                world = World(said, Path(folder))
                answer = {"ok": {"url": world.server.url}}
        except WorkflowError as error:
            answer = {"error": str(error)}
        print(json.dumps(answer), flush=True)
