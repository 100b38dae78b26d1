# Three tiers in each zone: the balancer, the instances, and what stores the data. Only
# the balancer's can be reached from outside, and the data's has no way out.

# Whatever their state: the stack can be changed while a zone is out.
data "aws_availability_zones" "this" {
  #checkov:skip=CKV_AWS_394: A zone that AWS adds moves no subnet, and adds none.

  # Local zones have no balancers, and are opted into.
  filter {
    name   = "opt-in-status"
    values = ["opt-in-not-required"]
  }

  lifecycle {
    postcondition {
      condition     = length(self.names) >= var.zone_count
      error_message = "This region has fewer zones than zone_count."
    }
  }
}

locals {
  # The keys are known before AWS has been asked.
  zones = { for index in range(var.zone_count) : tostring(index) => data.aws_availability_zones.this.names[index] }
}

resource "aws_vpc" "this" {
  cidr_block = var.cidr

  # Endpoints and file systems are found by name.
  enable_dns_hostnames = true

  tags = { Name = local.name }
}

# What is put into no group by mistake can talk to nobody.
resource "aws_default_security_group" "this" {
  vpc_id = aws_vpc.this.id
}

# Each tier starts at a quarter of the VPC, so that a fourth zone would move nothing.

resource "aws_subnet" "public" {
  for_each = local.zones

  vpc_id            = aws_vpc.this.id
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

  vpc_id            = aws_vpc.this.id
  availability_zone = each.value
  cidr_block        = cidrsubnet(var.cidr, 4, 4 + each.key)

  tags = { Name = "${local.name}-private-${each.key}" }

  lifecycle {
    ignore_changes = [availability_zone]
  }
}

resource "aws_subnet" "data" {
  for_each = local.zones

  vpc_id            = aws_vpc.this.id
  availability_zone = each.value
  cidr_block        = cidrsubnet(var.cidr, 4, 8 + each.key)

  tags = { Name = "${local.name}-data-${each.key}" }

  lifecycle {
    ignore_changes = [availability_zone]
  }
}

resource "aws_internet_gateway" "this" {
  vpc_id = aws_vpc.this.id

  tags = { Name = local.name }
}

resource "aws_route_table" "public" {
  vpc_id = aws_vpc.this.id

  tags = { Name = "${local.name}-public" }
}

resource "aws_route" "internet" {
  route_table_id         = aws_route_table.public.id
  destination_cidr_block = "0.0.0.0/0"
  gateway_id             = aws_internet_gateway.this.id
}

resource "aws_route_table_association" "public" {
  for_each = aws_subnet.public

  route_table_id = aws_route_table.public.id
  subnet_id      = each.value.id
}

# One per zone: each leaves through a gateway of its own zone, where there are any.
resource "aws_route_table" "private" {
  for_each = local.zones

  vpc_id = aws_vpc.this.id

  tags = { Name = "${local.name}-private-${each.key}" }
}

resource "aws_route_table_association" "private" {
  for_each = aws_subnet.private

  route_table_id = aws_route_table.private[each.key].id
  subnet_id      = each.value.id
}

resource "aws_route_table" "data" {
  vpc_id = aws_vpc.this.id

  tags = { Name = "${local.name}-data" }
}

resource "aws_route_table_association" "data" {
  for_each = aws_subnet.data

  route_table_id = aws_route_table.data.id
  subnet_id      = each.value.id
}
