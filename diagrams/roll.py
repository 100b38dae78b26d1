"""A roll over time, with the times that terraform/ has by default: one that succeeds, and
one that an alarm rolls back. Made up are only how long an instance takes to start, and
when the alarm fires."""

import re
from itertools import pairwise

from picture import FONT, GREEN, GREY, HERE, INK, SIZE, write

TERRAFORM = HERE.parent / "terraform"


def number(file, pattern):
    found = re.search(pattern, (TERRAFORM / file).read_text(), re.S)
    assert found, f"{file} has no {pattern}"
    return int(found[1])


DRAIN = number("variables.tf", r'variable "drain_timeout_seconds" \{.*?default\s+= (\d+)')
LET_GO = DRAIN + number("load_balancer.tf", r"deregistration_delay\s+= var\.drain_timeout_seconds \+ (\d+)")
WARM = number("variables.tf", r"warmup_seconds\s+= optional\(number, (\d+)\)")
BAKE = number("variables.tf", r"bake_seconds\s+= optional\(number, (\d+)\)")
SIZE_MIN = number("variables.tf", r'variable "size" \{.*?default\s+= \{ min = (\d+)')
MOST = SIZE_MIN * number("variables.tf", r"max_healthy_percent\s+= optional\(number, (\d+)\)") // 100
START = 60
ALARM = BAKE // 5

WIDTH, LEFT, LANE = 940, 92, 26
ALERT = "#cf222e"
FILL = {"starting": "#ffe9a8", "warming": "#c9ecd0", "serving": "#86cf94", "draining": "#b9d7fa"}


class Group:
    """Instances, each with what it did from when to when."""

    def __init__(self):
        self.lanes, self.made, self.now = {}, {}, 0
        for _ in range(SIZE_MIN):
            self.lanes[self.named("old")] = [("serving", 0)]

    def named(self, version):
        self.made[version] = self.made.get(version, 0) + 1
        return f"{version} {self.made[version]}"

    def replace(self, leaving, coming):
        """Replaces all of one version, as many at once as may be more than the group has."""
        lanes = [
            name for name, steps in self.lanes.items() if name.startswith(leaving) and steps[-1][0] != "gone"
        ]
        at_once = max(1, MOST - SIZE_MIN)
        for first in range(0, len(lanes), at_once):
            healthy = self.now + START
            warm = healthy + WARM
            for lane in lanes[first : first + at_once]:
                self.lanes[self.named(coming)] = [
                    ("starting", self.now),
                    ("warming", healthy),
                    ("serving", warm),
                ]
                self.lanes[lane] += [("draining", warm), ("gone", warm + LET_GO)]
            self.now = warm + LET_GO

    def in_service(self):
        """How many serve, from when to when."""
        times = sorted({start for steps in self.lanes.values() for _, start in steps} | {self.now})
        every = [span for steps in self.lanes.values() for span in spans(steps, self.now)]
        serving = [(since, until) for state, since, until in every if state in ("warming", "serving")]
        for start, end in pairwise(times):
            yield start, end, sum(since <= start < until for since, until in serving)


def spans(steps, end):
    """What an instance did, as states from when to when."""
    ends = [start for _, start in steps[1:]] + [end]
    return [
        (state, start, until) for (state, start), until in zip(steps, ends, strict=True) if state != "gone"
    ]


good = Group()
good.replace("old", "new")
good_replaced = good.now
good.now += BAKE

bad = Group()
bad.replace("old", "new")
bad_replaced = bad.now
bad.now = bad_alarm = bad.now + ALARM
bad.replace("new", "old")

END = max(good.now, bad.now) + 30
drawn = []


def x(seconds):
    return LEFT + seconds * (WIDTH - LEFT - 24) / END


def text(at, y, said, color=INK, anchor="start", weight="normal"):
    look = f'fill="{color}" text-anchor="{anchor}" font-weight="{weight}"'
    drawn.append(f'<text x="{at:.1f}" y="{y:.1f}" {look}>{said}</text>')


def line(x1, y1, x2, y2, color):
    drawn.append(f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{color}"/>')


def bar(left, right, y, height, color, opacity=1):
    look = f'rx="3" fill="{color}" fill-opacity="{opacity}"'
    drawn.append(f'<rect x="{left:.1f}" y="{y:.1f}" width="{right - left:.1f}" height="{height}" {look}/>')


def panel(top, title, group, watches, outcome):
    """Draws one roll and returns where it ends. A watch has a name, a start, an end and a colour."""
    text(16, top + 4, title, weight="bold")
    y = first = top + 22
    for name, start, end, color in watches:
        height = LANE * (len(group.lanes) + 1) + 6
        bar(x(start), x(end), first - 6, height, color, 0.08)
        text((x(start) + x(end)) / 2, first + LANE, name, color, "middle")
    for lane, steps in group.lanes.items():
        text(LEFT - 12, y + 14, lane, anchor="end")
        for state, since, until in spans(steps, group.now):
            bar(x(since), x(until) - 1, y, LANE - 6, FILL[state])
        y += LANE
    text(LEFT - 12, y + 14, "in service", GREY, "end")
    for start, end, count in group.in_service():
        text((x(start) + x(end)) / 2, y + 14, count, GREY, "middle")
        line(x(start), y - 2, x(start), y + 18, "#d0d7de")
    line(x(group.now), first - 6, x(group.now), y + 20, color)
    text(x(group.now), top + 4, outcome, color, "end")
    return y + 20


def axis(y):
    line(x(0), y, x(END), y, GREY)
    for minute in range(0, END // 60 + 1):
        line(x(minute * 60), y, x(minute * 60), y + 5, GREY)
        text(x(minute * 60), y + 18, minute, GREY, "middle")
    text(LEFT - 12, y + 18, "minutes", GREY, "end")


for left, state, meaning in (
    (16, "starting", "starts, mounts, is probed at /readyz"),
    (272, "warming", f"serves, warms up: {WARM} s"),
    (462, "serving", "serves"),
    (556, "draining", f"let go within {LET_GO} s, drained within {DRAIN} s"),
):
    bar(left, left + 22, 13, 14, FILL[state])
    text(left + 29, 24, meaning)

baked = [(f"bake: alarms are watched for {BAKE} s more", good_replaced, good.now, GREEN)]
y = panel(66, "A good version", good, baked, "terraform apply succeeds")
rolled_back = [
    ("bake", bad_replaced, bad_alarm, GREEN),
    ("an alarm fires: rolled back in the same way", bad_alarm, bad.now, ALERT),
]
y = panel(y + 44, "A bad one", bad, rolled_back, "terraform apply fails, the old version runs")
axis(y + 12)
bottom = y + 44

size = f'width="{WIDTH}" height="{bottom}"'
box = f'viewBox="0 0 {WIDTH} {bottom}"'
lines = "\n".join(drawn)
write(
    "roll",
    f"""<svg xmlns="http://www.w3.org/2000/svg" {size} {box} font-family="{FONT}" font-size="{SIZE}">
<rect id="paper" {size} rx="12" fill="white"/>
{lines}
</svg>
""",
)
