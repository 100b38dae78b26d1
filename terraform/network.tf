# The network: three tiers of subnets in each zone, for the load balancer, the instances
# and the database. Only the first accepts connections from outside, and the last has no
# route to the internet. An existing network can take its place.

# Zones in any state: the stack can be changed while a zone is out.
data "aws_availability_zones" "this" {
  #checkov:skip=CKV_AWS_394: A zone that AWS adds moves no subnet, and adds none.

  # Local zones have no load balancers, and are opted into.
  filter {
    name   = "opt-in-status"
    values = ["opt-in-not-required"]
  }
}

# Some zones lack some instance types.
data "aws_ec2_instance_type_offerings" "this" {
  location_type = "availability-zone"

  filter {
    name   = "instance-type"
    values = [var.instance_type]
  }
}

locals {
  own_network = var.network == null ? 1 : 0

  offered = [for name in data.aws_availability_zones.this.names : name if contains(data.aws_ec2_instance_type_offerings.this.locations, name)]
  # The keys are known before AWS has been asked.
  zones = var.network == null ? { for index in range(var.zone_count) : tostring(index) => local.offered[index] } : {}

  vpc_id             = var.network == null ? one(aws_vpc.this[*].id) : var.network.vpc_id
  public_subnet_ids  = var.network == null ? [for subnet in aws_subnet.public : subnet.id] : tolist(var.network.public_subnet_ids)
  private_subnet_ids = var.network == null ? [for subnet in aws_subnet.private : subnet.id] : tolist(var.network.private_subnet_ids)
  data_subnets       = var.network == null ? { for zone, subnet in aws_subnet.data : zone => subnet.id } : { for id in var.network.data_subnet_ids : id => id }
}

resource "aws_vpc" "this" {
  #checkov:skip=CKV2_AWS_12: Everything made here names its groups, and a pipeline's role changes nothing that AWS made without a tag.
  #checkov:skip=CKV2_AWS_11: It has flow logs, which checkov does not match to a VPC with a count.
  count = local.own_network

  cidr_block = var.cidr

  # Endpoints and file systems are found by name.
  enable_dns_hostnames = true

  tags = { Name = local.name }

  lifecycle {
    precondition {
      condition     = length(local.offered) >= var.zone_count
      error_message = "This region offers instance_type in fewer zones than zone_count."
    }
  }
}

# Each tier starts at a quarter of the VPC, so that a fourth zone would move nothing.

resource "aws_subnet" "public" {
  for_each = local.zones

  vpc_id            = aws_vpc.this[0].id
  availability_zone = each.value
  cidr_block        = cidrsubnet(var.cidr, 4, each.key)

  tags = { Name = "${local.name}-public-${each.key}" }

  lifecycle {
    # A zone that AWS adds may come before others in the list.
    ignore_changes = [availability_zone]
  }
}

resource "aws_subnet" "private" {
  for_each = local.zones

  vpc_id            = aws_vpc.this[0].id
  availability_zone = each.value
  cidr_block        = cidrsubnet(var.cidr, 4, 4 + each.key)

  tags = { Name = "${local.name}-private-${each.key}" }

  lifecycle {
    ignore_changes = [availability_zone]
  }
}

resource "aws_subnet" "data" {
  for_each = local.zones

  vpc_id            = aws_vpc.this[0].id
  availability_zone = each.value
  cidr_block        = cidrsubnet(var.cidr, 4, 8 + each.key)

  tags = { Name = "${local.name}-data-${each.key}" }

  lifecycle {
    ignore_changes = [availability_zone]
  }
}

resource "aws_internet_gateway" "this" {
  count = local.own_network

  vpc_id = aws_vpc.this[0].id

  tags = { Name = local.name }
}

resource "aws_route_table" "public" {
  count = local.own_network

  vpc_id = aws_vpc.this[0].id

  tags = { Name = "${local.name}-public" }
}

resource "aws_route" "internet" {
  count = local.own_network

  route_table_id         = aws_route_table.public[0].id
  destination_cidr_block = "0.0.0.0/0"
  gateway_id             = aws_internet_gateway.this[0].id
}

resource "aws_route_table_association" "public" {
  for_each = aws_subnet.public

  route_table_id = aws_route_table.public[0].id
  subnet_id      = each.value.id
}

# One per zone, so that each can have a gateway in its own zone.
resource "aws_route_table" "private" {
  for_each = local.zones

  vpc_id = aws_vpc.this[0].id

  tags = { Name = "${local.name}-private-${each.key}" }
}

resource "aws_route_table_association" "private" {
  for_each = aws_subnet.private

  route_table_id = aws_route_table.private[each.key].id
  subnet_id      = each.value.id
}

resource "aws_route_table" "data" {
  count = local.own_network

  vpc_id = aws_vpc.this[0].id

  tags = { Name = "${local.name}-data" }
}

resource "aws_route_table_association" "data" {
  for_each = aws_subnet.data

  route_table_id = aws_route_table.data[0].id
  subnet_id      = each.value.id
}
