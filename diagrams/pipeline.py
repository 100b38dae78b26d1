"""From a commit to production: the jobs of .github/workflows/, and what undoes a release."""

import json
import re

from diagrams.aws.compute import EC2Ami
from diagrams.aws.management import SystemsManagerParameterStore
from diagrams.onprem.ci import GithubActions
from diagrams.onprem.client import User
from diagrams.onprem.iac import Ansible, Terraform
from diagrams.onprem.vcs import Github
from diagrams.programming.language import Rust

from picture import BLUE, GREEN, GREY, HERE, INK, ORANGE, PURPLE, Picture, arrow, box, caption, corner, icon, part

GITHUB = HERE.parent / ".github"
window = json.loads((GITHUB / "window.json").read_text())
hours = window["hours"]["mon"].replace("-", " to ")
nightly = (GITHUB / "workflows" / "nightly.yml").read_text()
keep = re.search(r"retire-images --keep (\d+)", nightly)[1]
ALERT = "#cf222e"

with Picture("pipeline", 940, 560):
    # A pull request.
    box(156, 92, 296, 168, "pull request", line=GREY, fill="#fafbfc")
    change = icon(Github, 56, 84, "A change")
    checks = part(196, 62, 176, 44, "tests, coverage, crates,\nsearch for secrets", line=INK)
    plan = part(196, 128, 176, 44, "read-only plan of\nstaging, in a comment", line=BLUE)
    arrow(change, corner(94, 84), corner(94, 62), checks)
    arrow(corner(94, 84), corner(94, 128), plan)

    # Rollback and nightly.
    box(470, 92, 300, 168, "rollback, by hand", line=GREY, fill="#fafbfc")
    person = icon(User, 372, 84, "Picks a version")
    back = part(524, 84, 168, 66, "rolls to its image, at any\ntime, also while\nalarms are on", line=ORANGE)
    arrow(person, back)
    box(784, 92, 296, 168, "nightly", line=GREY, fill="#fafbfc")
    part(784, 58, 264, 34, "drift: reported if any", line=BLUE)
    part(784, 96, 264, 34, "advisories on the crates", line=INK)
    part(784, 134, 264, 34, f"images: those of {keep} releases are kept", line=ORANGE)

    # A merge.
    box(470, 366, 924, 356, "main: merging is deploying", line=GREY, fill="#fafbfc")
    merge = icon(Github, 56, 270, "A merge")
    guard = icon(GithubActions, 146, 270, "Environments\nhave their rules")
    build = icon(Rust, 244, 270, "Built once, for\ntwo processors")
    bake = icon(Ansible, 342, 270, "Baked, booted\nand tested")
    image = icon(EC2Ami, 432, 270, "One image\nfor each")
    staging = part(546, 270, 108, 60, "staging:\ndeploy, then\nsmoke test", line=GREEN, fill="#f4f9ef")
    open_ = part(680, 270, 104, 60, f"window?\n{hours},\n{window['time_zone']}", line=PURPLE, fill="#faf7ff")
    production = part(846, 270, 130, 60, "production:\nthe same image,\nsmoke test", line=GREEN, fill="#f4f9ef")
    for start, end in ((merge, guard), (guard, build), (build, bake), (bake, image), (image, staging)):
        arrow(start, end, color=BLUE)
    arrow(staging, open_, color=BLUE)
    arrow(open_, production, color=BLUE)
    caption(756, 260, "open", BLUE)
    approval = part(680, 368, 104, 44, "approval by\na reviewer", line=PURPLE)
    arrow(open_, approval, color=PURPLE, dashed=True)
    caption(708, 324, "closed", PURPLE)
    arrow(approval, corner(846, 368), production, color=PURPLE, dashed=True)

    # What undoes it.
    undo = part(546, 450, 200, 60, "release before, applied again:\nstate, record and what runs\nagree", line=ALERT, fill="#fff5f5")
    arrow(corner(520, 301), corner(520, 419), color=ALERT, dashed=True)
    caption(476, 390, "roll or smoke\ntest fails", ALERT)
    arrow(corner(890, 301), corner(890, 450), undo, color=ALERT, dashed=True)
    caption(820, 440, "roll or smoke test fails", ALERT)
    record = icon(SystemsManagerParameterStore, 342, 450, "The image of each\nenvironment, recorded", "aws_ssm_parameter.image")
    arrow(undo, record, color=GREY, both=True)
    terraform = icon(Terraform, 202, 450, "Plans read it")
    arrow(record, terraform, color=GREY)
    part(86, 450, 128, 60, "chats notified: start,\nsuccess, failure,\nrollback", line=GREY)
    caption(86, 500, "owners: mail too", GREY)
    arrow(corner(56, 318), corner(56, 419), color=GREY, dashed=True)
