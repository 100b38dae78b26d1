#!/usr/bin/env python3
"""Adds up what a stack costs a month at AWS's list prices, from Terraform's plan.

    terraform plan -out plan
    terraform show -json plan >plan.json
    tests/terraform/costs.py mine=plan.json

Prints a table in Markdown with a column for each plan, and the prices it is made of. A resource
whose type is neither priced nor known as free is an error: a new cost does not stay unseen.

Counted is what runs when nobody sends requests: the fewest instances, databases at their minimum
capacity. What depends on traffic is left out (the balancer's capacity units, data transfer, bytes
through NAT gateways and endpoints, I/O of databases and file systems, WAF's requests), and so are
taxes, discounts and free tiers, but for dashboards.
"""

import json
import sys
from collections import namedtuple

REGION = "eu-central-1"
HOURS = 730

# What a plan does not say.
DATA_GB = 1
LOG_GB_PER_HOST = 0.5

Price = namedtuple("Price", "usd per page confirmed_by")

EC2 = "https://aws.amazon.com/ec2/pricing/on-demand/"
AURORA = "https://aws.amazon.com/rds/aurora/pricing/"
CLOUDWATCH = "https://aws.amazon.com/cloudwatch/pricing/"
VPC = "https://aws.amazon.com/vpc/pricing/"
PRIVATELINK = "https://aws.amazon.com/privatelink/pricing/"
WAF = "https://aws.amazon.com/waf/pricing/"

# What others have published, compared on 2026-11-27; AWS's pages show prices by region only in a
# browser.
BILL = "a published bill, 2026-06"
REPORT = "a published cost report, 2026-09"
LIST = "a published price list, 2026-09"
UNDATED = "published documents, undated"
MEMORY = "nothing, from memory"

# AWS's list prices in eu-central-1 in US dollars without tax, the page that they are on, and what
# confirms them.
PRICES = {
    "load balancer": Price(0.027, "hour", "https://aws.amazon.com/elasticloadbalancing/pricing/", BILL),
    "public IPv4 address": Price(0.005, "hour", VPC, BILL),
    "t4g.micro": Price(0.0096, "hour", EC2, MEMORY),
    "t4g.small": Price(0.0192, "hour", EC2, MEMORY),
    "t4g.medium": Price(0.0384, "hour", EC2, MEMORY),
    "gp3 volume": Price(0.0952, "GB", "https://aws.amazon.com/ebs/pricing/", UNDATED),
    "EFS storage": Price(0.36, "GB", "https://aws.amazon.com/efs/pricing/", UNDATED),
    "Aurora capacity unit": Price(0.14, "hour", AURORA, UNDATED),
    "Aurora storage": Price(0.119, "GB", AURORA, UNDATED),
    "interface endpoint": Price(0.012, "hour and zone", PRIVATELINK, LIST),
    "NAT gateway": Price(0.052, "hour", VPC, REPORT),
    "KMS key": Price(1.00, "key", "https://aws.amazon.com/kms/pricing/", BILL),
    "secret": Price(0.40, "secret", "https://aws.amazon.com/secrets-manager/pricing/", BILL),
    "alarm": Price(0.10, "metric", CLOUDWATCH, UNDATED),
    "custom metric": Price(0.30, "metric", CLOUDWATCH, UNDATED),
    "dashboard": Price(3.00, "dashboard", CLOUDWATCH, UNDATED),
    "logs": Price(0.63, "GB taken in", CLOUDWATCH, UNDATED),
    "firewall": Price(5.00, "web ACL", WAF, UNDATED),
    "firewall rule": Price(1.00, "rule", WAF, UNDATED),
}

# An account has three dashboards of up to so many metrics for nothing.
FREE_DASHBOARD_METRICS = 50

LINES = [
    "Load balancer",
    "Public addresses",
    "Instances",
    "Disks",
    "Database",
    "Endpoints and NAT",
    "Keys and secrets",
    "Alarms and metrics",
    "Firewall",
    "Logs",
]

# Types that cost nothing by themselves, and why.
NETWORK = "AWS takes nothing for it"
IAM = "IAM is free"
FREE = {
    "aws_acm_certificate": "public certificates are free",
    "aws_acm_certificate_validation": "no thing of its own",
    "aws_backup_plan": "billed by what is stored: cents for the data assumed here",
    "aws_backup_selection": "no thing of its own",
    "aws_backup_vault": "billed by what is stored: cents for the data assumed here",
    "aws_backup_vault_lock_configuration": "no thing of its own",
    "aws_cloudwatch_event_rule": "events of AWS's services are free",
    "aws_cloudwatch_event_target": "events of AWS's services are free",
    "aws_cognito_user_pool": "billed by the people who sign in",
    "aws_cognito_user_pool_client": "billed by the people who sign in",
    "aws_cognito_user_pool_domain": "billed by the people who sign in",
    "aws_db_subnet_group": NETWORK,
    "aws_efs_access_point": "billed with the file system",
    "aws_efs_file_system_policy": "billed with the file system",
    "aws_efs_mount_target": "billed with the file system",
    "aws_flow_log": "billed by its log group",
    "aws_iam_instance_profile": IAM,
    "aws_iam_role": IAM,
    "aws_iam_role_policy": IAM,
    "aws_iam_role_policy_attachment": IAM,
    "aws_internet_gateway": NETWORK,
    "aws_kms_alias": "billed with the key",
    "aws_lb_listener": "billed with the balancer",
    "aws_lb_target_group": "billed with the balancer",
    "aws_rds_cluster_parameter_group": "no thing of its own",
    "aws_route": NETWORK,
    "aws_route53_record": "billed with its zone, which is not the stack's",
    "aws_route_table": NETWORK,
    "aws_route_table_association": NETWORK,
    "aws_s3_bucket": "billed by the access logs in it, so by traffic",
    "aws_s3_bucket_lifecycle_configuration": "billed with the bucket",
    "aws_s3_bucket_ownership_controls": "billed with the bucket",
    "aws_s3_bucket_policy": "billed with the bucket",
    "aws_s3_bucket_public_access_block": "billed with the bucket",
    "aws_s3_bucket_server_side_encryption_configuration": "billed with the bucket",
    "aws_security_group": NETWORK,
    "aws_sns_topic": "a thousand mails a month are free",
    "aws_sns_topic_policy": "no thing of its own",
    "aws_sns_topic_subscription": "a thousand mails a month are free",
    "aws_ssm_parameter": "standard parameters are free",
    "aws_subnet": NETWORK,
    "aws_vpc": NETWORK,
    "aws_vpc_security_group_egress_rule": NETWORK,
    "aws_vpc_security_group_ingress_rule": NETWORK,
    "aws_wafv2_web_acl_association": "billed with the web ACL",
    "terraform_data": "not in AWS",
}


class Stack:
    """The resources of a plan, and what they cost a month, by line."""

    def __init__(self, plan):
        self.resources = [
            (change["address"], change["type"], change["change"]["after"])
            for change in plan["resource_changes"]
            if change["mode"] == "managed" and change["change"]["after"] is not None
        ]
        self.costs = dict.fromkeys(LINES, 0.0)
        self.shown = set()
        for address, kind, values in self.resources:
            if kind in self.RULES:
                try:
                    self.RULES[kind](self, values)
                except (KeyError, TypeError, IndexError) as error:
                    sys.exit(f"costs.py: {address}: cannot tell its cost: {error!r}")
            elif kind not in FREE:
                sys.exit(f"costs.py: {address}: {kind} is neither in RULES nor in FREE")
        hosts = self.instances + len(list(self.all("aws_rds_cluster_instance")))
        self.add("Logs", "logs", LOG_GB_PER_HOST * hosts)
        self.add("Alarms and metrics", "custom metric", len(self.custom_metrics()))

    def all(self, kind):
        return (values for _, other, values in self.resources if other == kind)

    def one(self, kind):
        (values,) = self.all(kind)
        return values

    def add(self, line, name, count):
        if name not in PRICES:
            raise KeyError(f"there is no price of {name}")
        price = PRICES[name]
        self.costs[line] += price.usd * count * (HOURS if price.per.startswith("hour") else 1)

    def subnets(self, known, name):
        """How many subnets a resource is in: before the first apply, those that are to be made for it."""
        made = [address for address, kind, _ in self.resources if kind == "aws_subnet" and f".{name}[" in address]
        return len(known or made)

    @property
    def instances(self):
        return self.one("aws_autoscaling_group")["min_size"]

    def balancer(self, values):
        self.add("Load balancer", "load balancer", 1)
        if not values.get("internal"):
            # A node with an address in each zone.
            self.add("Public addresses", "public IPv4 address", self.subnets(values.get("subnets"), "public"))

    def group(self, values):
        template = self.one("aws_launch_template")
        self.add("Instances", template["instance_type"], values["min_size"])
        for disk in template["block_device_mappings"]:
            volume = disk["ebs"][0]
            self.add("Disks", f"{volume['volume_type']} volume", volume["volume_size"] * values["min_size"])
        if any(interface["associate_public_ip_address"] == "true" for interface in template["network_interfaces"]):
            self.add("Public addresses", "public IPv4 address", values["min_size"])
        if any(monitoring["enabled"] for monitoring in template.get("monitoring") or []):
            # Detailed monitoring: seven metrics of each instance.
            self.add("Alarms and metrics", "custom metric", 7 * values["min_size"])

    def scaling(self, _):
        # Auto Scaling makes an alarm to grow by, and one to shrink by.
        self.add("Alarms and metrics", "alarm", 2)

    def database_instance(self, values):
        if values["instance_class"] != "db.serverless":
            raise KeyError(values["instance_class"])
        scaling = self.one("aws_rds_cluster")["serverlessv2_scaling_configuration"][0]
        self.add("Database", "Aurora capacity unit", scaling["min_capacity"])

    def database_cluster(self, values):
        self.add("Database", "Aurora storage", DATA_GB)
        if values.get("manage_master_user_password"):
            self.add("Keys and secrets", "secret", 1)

    def file_system(self, _):
        self.add("Database", "EFS storage", DATA_GB)

    def endpoint(self, values):
        if values["vpc_endpoint_type"] == "Interface":
            self.add("Endpoints and NAT", "interface endpoint", self.subnets(values.get("subnet_ids"), "private"))

    def gateway(self, _):
        self.add("Endpoints and NAT", "NAT gateway", 1)

    def address(self, _):
        self.add("Public addresses", "public IPv4 address", 1)

    def key(self, _):
        self.add("Keys and secrets", "KMS key", 1)

    def secret(self, _):
        self.add("Keys and secrets", "secret", 1)

    def alarm(self, values):
        self.add("Alarms and metrics", "alarm", len(metrics_of_alarm(values)))

    def dashboard(self, values):
        self.shown = metrics_of_dashboard(values)
        if len(self.shown) > FREE_DASHBOARD_METRICS:
            self.add("Alarms and metrics", "dashboard", 1)

    def firewall(self, values):
        self.add("Firewall", "firewall", 1)
        self.add("Firewall", "firewall rule", len(values["rule"]))

    def log_group(self, _):
        """Billed by what is written: see LOG_GB_PER_HOST."""

    def custom_metrics(self):
        """The stack's own metrics. Its image sends none that no alarm and no graph reads."""
        alarms = self.all("aws_cloudwatch_metric_alarm")
        metrics = self.shown.union(*(metrics_of_alarm(values) for values in alarms))
        return {metric for metric in metrics if not metric[0].startswith("AWS/")}

    RULES = {
        "aws_autoscaling_group": group,
        "aws_autoscaling_policy": scaling,
        "aws_cloudwatch_dashboard": dashboard,
        "aws_cloudwatch_log_group": log_group,
        "aws_cloudwatch_metric_alarm": alarm,
        "aws_efs_file_system": file_system,
        "aws_eip": address,
        "aws_kms_key": key,
        "aws_launch_template": lambda *_: None,  # Its group has its price.
        "aws_lb": balancer,
        "aws_nat_gateway": gateway,
        "aws_rds_cluster": database_cluster,
        "aws_rds_cluster_instance": database_instance,
        "aws_secretsmanager_secret": secret,
        "aws_vpc_endpoint": endpoint,
        "aws_wafv2_web_acl": firewall,
    }


def metrics_of_alarm(values):
    queries = [query["metric"][0] for query in values["metric_query"] if query.get("metric")]
    return {
        # Of what does not exist yet, such as a certificate, the name is not known.
        (metric["namespace"], metric["metric_name"], *sorted((metric.get("dimensions") or {}).items()))
        for metric in queries or [values]
    }


def metrics_of_dashboard(values):
    if values.get("dashboard_body") is None:
        print("costs.py: the first apply makes the dashboard; metrics that only it shows are not counted", file=sys.stderr)
        return set()
    body = json.loads(values["dashboard_body"])
    graphs = (widget["properties"] for widget in body["widgets"] if widget["type"] == "metric")
    names = ([word for word in metric if isinstance(word, str)] for graph in graphs for metric in graph["metrics"])
    return {(*name[:2], *sorted(zip(name[2::2], name[3::2]))) for name in names if name}


def table(head, rows):
    return "\n".join(f"| {' | '.join(row)} |" for row in [head, ["---"] * len(head), *rows])


def main(arguments):
    plans = dict(argument.split("=", 1) for argument in arguments)
    stacks = [Stack(json.load(open(path))) for path in plans.values()]
    if not stacks:
        sys.exit(__doc__)
    dollars = "{:.2f}".format
    rows = [[line, *(dollars(stack.costs[line]) for stack in stacks)] for line in LINES]
    rows.append(["**Sum**", *(f"**{dollars(sum(stack.costs.values()))}**" for stack in stacks)])
    print(table([f"USD a month in {REGION}", *plans], rows))
    print()
    prices = [
        [name, f"{price.usd:g}", price.per, f"[page]({price.page})", price.confirmed_by]
        for name, price in PRICES.items()
        if name not in unused(stacks)
    ]
    print(table(["Price of", "USD", "per", "AWS's", "confirmed by"], prices))


def unused(stacks):
    """Instance types that none of the stacks has."""
    types = {stack.one("aws_launch_template")["instance_type"] for stack in stacks}
    return {name for name, price in PRICES.items() if price.page == EC2} - types


if __name__ == "__main__":
    main(sys.argv[1:])
