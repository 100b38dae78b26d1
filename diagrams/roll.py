"""A roll over time, with the times that terraform/ has by default: one that succeeds, and
one that an alarm rolls back. What is computed is what AWS does in theirs; only how long
an instance takes to start is made up."""

import re

from picture import FONT, GREEN, GREY, HERE, INK, SIZE, write

TERRAFORM = HERE.parent / "terraform"


def number(file, pattern):
    found = re.search(pattern, (TERRAFORM / file).read_text(), re.S)
    assert found, f"{file} says no more how long it takes: {pattern}"
    return int(found[1])


START = 60
DRAIN = number("variables.tf", r'variable "drain_timeout_seconds" \{.*?default\s+= (\d+)')
LET_GO = DRAIN + number("load_balancer.tf", r"deregistration_delay\s+= var\.drain_timeout_seconds \+ (\d+)")
WARM = number("variables.tf", r"warmup_seconds\s+= optional\(number, (\d+)\)")
BAKE = number("variables.tf", r"bake_seconds\s+= optional\(number, (\d+)\)")
SIZE_MIN = number("variables.tf", r'variable "size" \{.*?default\s+= \{ min = (\d+)')
MOST = SIZE_MIN * number("variables.tf", r"max_healthy_percent\s+= optional\(number, (\d+)\)") // 100
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
        olds = [lane for lane, steps in self.lanes.items() if lane.startswith(leaving) and steps[-1][0] != "gone"]
        step = max(1, MOST - SIZE_MIN)
        for at in range(0, len(olds), step):
            for old in olds[at:at + step]:
                healthy = self.now + START
                self.lanes[self.named(coming)] = [("starting", self.now), ("warming", healthy), ("serving", healthy + WARM)]
                self.lanes[old] += [("draining", healthy + WARM), ("gone", healthy + WARM + LET_GO)]
            self.now += START + WARM + LET_GO

    def in_service(self):
        """How many serve, from when to when."""
        times = sorted({start for steps in self.lanes.values() for _, start in steps} | {self.now})
        for start, end in zip(times, times[1:]):
            yield start, end, sum(
                any(state in ("warming", "serving") and since <= start < until for state, since, until in spans(steps, self.now))
                for steps in self.lanes.values()
            )


def spans(steps, end):
    ends = [start for _, start in steps[1:]] + [end]
    return [(state, start, until) for (state, start), until in zip(steps, ends) if state != "gone"]


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


def text(at, y, said, color=INK, anchor="start", bold=False):
    weight = ' font-weight="bold"' if bold else ""
    drawn.append(f'<text x="{at:.1f}" y="{y:.1f}" fill="{color}" text-anchor="{anchor}"{weight}>{said}</text>')


def line(x1, y1, x2, y2, color, dashed=False):
    dashes = ' stroke-dasharray="4 3"' if dashed else ""
    drawn.append(f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{color}"{dashes}/>')


def bar(start, end, y, fill):
    drawn.append(f'<rect x="{x(start):.1f}" y="{y:.1f}" width="{x(end) - x(start) - 1:.1f}" height="{LANE - 6}" rx="3" fill="{fill}"/>')


def panel(top, title, group, watches, outcome):
    """Draws one roll and returns where it ends. A watch has a name, a start, an end and a colour."""
    text(16, top + 4, title, bold=True)
    y = first = top + 22
    for name, start, end, color in watches:
        height = LANE * (len(group.lanes) + 1) + 6
        drawn.append(f'<rect x="{x(start):.1f}" y="{first - 6}" width="{x(end) - x(start):.1f}" height="{height}" fill="{color}" fill-opacity="0.08"/>')
        text((x(start) + x(end)) / 2, first + LANE, name, color, "middle")
    for lane, steps in group.lanes.items():
        text(LEFT - 12, y + 14, lane, anchor="end")
        for state, since, until in spans(steps, group.now):
            bar(since, until, y, FILL[state])
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


y = 24
for column, (state, meaning) in enumerate((
    ("starting", "starts, mounts, is asked for /readyz"),
    ("warming", f"serves, warms up: {WARM} s"),
    ("serving", "serves"),
    ("draining", f"let go within {LET_GO} s, drained within {DRAIN} s"),
)):
    at = 16 + (0, 256, 446, 540)[column]
    drawn.append(f'<rect x="{at}" y="{y - 11}" width="22" height="14" rx="3" fill="{FILL[state]}"/>')
    text(at + 29, y, meaning)

y = panel(66, "A good version", good, [
    (f"bake: alarms are watched for {BAKE} s more", good_replaced, good.now, GREEN),
], "terraform apply succeeds")
y = panel(y + 44, "A bad one", bad, [
    ("bake", bad_replaced, bad_alarm, GREEN),
    ("an alarm fires: rolled back in the same way", bad_alarm, bad.now, ALERT),
], "terraform apply fails, the old version runs")
axis(y + 12)
HEIGHT = y + 44

write("roll", f'''<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{HEIGHT}" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="{FONT}" font-size="{SIZE}">
<rect id="paper" width="{WIDTH}" height="{HEIGHT}" rx="8" fill="white"/>
{chr(10).join(drawn)}
</svg>
''')
