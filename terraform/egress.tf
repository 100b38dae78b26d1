# How instances reach AWS. By endpoints they reach the services named here and nothing
# else, not even other accounts' part of these services.

locals {
  endpoint_services = var.egress == "endpoints" ? setunion(
    # A shell by Session Manager; logs and metrics, and ec2 for the group's name in them.
    ["ssm", "ssmmessages", "logs", "monitoring", "ec2"],
    # The database's password.
    contains(local.databases, "postgres") ? ["secretsmanager"] : [],
  ) : []

  gateway_zones = var.egress == "nat" ? local.zones : {}
}

resource "aws_vpc_endpoint" "this" {
  for_each = local.endpoint_services

  vpc_id              = aws_vpc.this.id
  vpc_endpoint_type   = "Interface"
  service_name        = "com.amazonaws.${var.region}.${each.key}"
  private_dns_enabled = true
  subnet_ids          = [for subnet in aws_subnet.private : subnet.id]
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

# A gateway to S3 costs nothing, so there is one either way.
resource "aws_vpc_endpoint" "s3" {
  vpc_id            = aws_vpc.this.id
  vpc_endpoint_type = "Gateway"
  service_name      = "com.amazonaws.${var.region}.s3"
  route_table_ids   = [for table in aws_route_table.private : table.id]

  # Packages of Amazon Linux and updates of the SSM agent come from AWS's own buckets.
  # Nothing here has another bucket to read, or any to write to.
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
  for_each = local.gateway_zones

  route_table_id         = aws_route_table.private[each.key].id
  destination_cidr_block = "0.0.0.0/0"
  nat_gateway_id         = aws_nat_gateway.this[each.key].id
}
