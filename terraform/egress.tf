# How instances reach AWS: Session Manager, logs and metrics. The database signs in by
# tokens that the host computes itself, so that takes no call.

locals {
  endpoint_services = var.egress == "endpoints" ? toset(["ssm", "ssmmessages", "logs", "monitoring"]) : toset([])

  # Zones with a NAT gateway. With a single one, all zones go through the first.
  gateway_zones = {
    for zone, name in local.zones : zone => name if var.egress == "nat" || var.egress == "nat-single" && zone == "0"
  }
}

# By endpoints instances reach the services named here and nothing else, not even other
# accounts' part of these services.
resource "aws_vpc_endpoint" "this" {
  for_each = local.endpoint_services

  vpc_id              = local.vpc_id
  vpc_endpoint_type   = "Interface"
  service_name        = "com.amazonaws.${var.region}.${each.key}"
  private_dns_enabled = true
  subnet_ids          = local.private_subnet_ids
  security_group_ids  = aws_security_group.endpoints[*].id

  # Credentials of another account, brought here to carry data out, do not work.
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Principal = "*"
      Action    = "*"
      Resource  = "*"
      Condition = { StringEquals = { "aws:PrincipalAccount" = local.account_id } }
    }]
  })

  tags = { Name = "${local.name}-${each.key}" }
}

# A gateway endpoint of S3 costs nothing, so every network made here has one.
resource "aws_vpc_endpoint" "s3" {
  count = local.own_network

  vpc_id            = local.vpc_id
  vpc_endpoint_type = "Gateway"
  service_name      = "com.amazonaws.${var.region}.s3"
  route_table_ids   = [for table in aws_route_table.private : table.id]

  # Packages of Amazon Linux and updates of the SSM agent come from AWS's own buckets.
  # Instances have no other bucket to read, and none to write to.
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Principal = "*"
      Action    = "s3:GetObject"
      Resource = [for bucket in ["al2023-repos-${var.region}-*", "amazon-ssm-${var.region}"] :
        "${local.arn_prefix}:s3:::${bucket}/*"
      ]
    }]
  })

  tags = { Name = "${local.name}-s3" }
}

resource "aws_eip" "this" {
  for_each = local.gateway_zones

  domain = "vpc"

  tags = { Name = "${local.name}-${each.key}" }
}

resource "aws_nat_gateway" "this" {
  for_each = local.gateway_zones

  allocation_id = aws_eip.this[each.key].id
  subnet_id     = aws_subnet.public[each.key].id

  tags = { Name = "${local.name}-${each.key}" }

  depends_on = [aws_internet_gateway.this]
}

resource "aws_route" "nat" {
  for_each = startswith(var.egress, "nat") ? local.zones : {}

  route_table_id         = aws_route_table.private[each.key].id
  destination_cidr_block = "0.0.0.0/0"
  nat_gateway_id         = aws_nat_gateway.this[var.egress == "nat" ? each.key : "0"].id
}
