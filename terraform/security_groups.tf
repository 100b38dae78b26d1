# Allowed connections. Rules name groups; addresses appear only where clients connect and
# where AWS is reached at its public ones.

locals {
  front_ports = var.domain == null ? ["80"] : ["80", "443"]

  service_ports = {
    "8080" = "Requests"
    "8081" = "Health checks"
  }

  database_ports = {
    for database, port in { sqlite = 2049, postgres = 5432 } : database => port if contains(local.databases, database)
  }
}

resource "aws_security_group" "load_balancer" {
  vpc_id      = local.vpc_id
  name_prefix = "${local.name}-load-balancer-"
  description = "The balancer"

  tags = { Name = "${local.name}-load-balancer" }

  lifecycle {
    # Interfaces use it, so that it can only be deleted once they use its successor.
    create_before_destroy = true
  }
}

resource "aws_security_group" "service" {
  vpc_id      = local.vpc_id
  name_prefix = "${local.name}-service-"
  description = "The instances"

  tags = { Name = "${local.name}-service" }

  lifecycle {
    # Interfaces use it, so that it can only be deleted once they use its successor.
    create_before_destroy = true
  }
}

resource "aws_security_group" "database" {
  vpc_id      = local.vpc_id
  name_prefix = "${local.name}-database-"
  description = "The database"

  tags = { Name = "${local.name}-database" }

  lifecycle {
    # Interfaces use it, so that it can only be deleted once they use its successor.
    create_before_destroy = true
  }
}

resource "aws_security_group" "endpoints" {
  count = var.egress == "endpoints" ? 1 : 0

  vpc_id      = local.vpc_id
  name_prefix = "${local.name}-endpoints-"
  description = "The endpoints of AWS services"

  tags = { Name = "${local.name}-endpoints" }

  lifecycle {
    # Interfaces use it, so that it can only be deleted once they use its successor.
    create_before_destroy = true
  }
}

# Clients to the balancer

resource "aws_vpc_security_group_ingress_rule" "clients" {
  for_each = { for pair in setproduct(local.front_ports, var.client_cidrs) : join(" ", pair) => { port = pair[0], cidr = pair[1] } }

  security_group_id = aws_security_group.load_balancer.id
  description       = var.domain != null && each.value.port == "80" ? "Clients, which are redirected" : "Clients"
  cidr_ipv4         = each.value.cidr
  ip_protocol       = "tcp"
  from_port         = each.value.port
  to_port           = each.value.port
}

# The balancer to the service

resource "aws_vpc_security_group_egress_rule" "load_balancer" {
  for_each = local.service_ports

  security_group_id            = aws_security_group.load_balancer.id
  description                  = "${each.value} to the service"
  referenced_security_group_id = aws_security_group.service.id
  ip_protocol                  = "tcp"
  from_port                    = each.key
  to_port                      = each.key
}

resource "aws_vpc_security_group_ingress_rule" "service" {
  for_each = local.service_ports

  security_group_id            = aws_security_group.service.id
  description                  = "${each.value} from the balancer"
  referenced_security_group_id = aws_security_group.load_balancer.id
  ip_protocol                  = "tcp"
  from_port                    = each.key
  to_port                      = each.key
}

# Cognito answers the balancer at public addresses only, which AWS does not list.
resource "aws_vpc_security_group_egress_rule" "sign_in" {
  count = var.sign_in ? 1 : 0

  security_group_id = aws_security_group.load_balancer.id
  description       = "Cognito"
  cidr_ipv4         = "0.0.0.0/0"
  ip_protocol       = "tcp"
  from_port         = 443
  to_port           = 443
}

# The service to its database

resource "aws_vpc_security_group_egress_rule" "database" {
  for_each = local.database_ports

  security_group_id            = aws_security_group.service.id
  description                  = "The ${each.key} database"
  referenced_security_group_id = aws_security_group.database.id
  ip_protocol                  = "tcp"
  from_port                    = each.value
  to_port                      = each.value
}

resource "aws_vpc_security_group_ingress_rule" "database" {
  for_each = local.database_ports

  security_group_id            = aws_security_group.database.id
  description                  = "The service, to ${each.key}"
  referenced_security_group_id = aws_security_group.service.id
  ip_protocol                  = "tcp"
  from_port                    = each.value
  to_port                      = each.value
}

# The service to AWS

resource "aws_vpc_security_group_egress_rule" "endpoints" {
  count = var.egress == "endpoints" ? 1 : 0

  security_group_id            = aws_security_group.service.id
  description                  = "AWS by endpoints"
  referenced_security_group_id = aws_security_group.endpoints[0].id
  ip_protocol                  = "tcp"
  from_port                    = 443
  to_port                      = 443
}

resource "aws_vpc_security_group_ingress_rule" "endpoints" {
  count = var.egress == "endpoints" ? 1 : 0

  security_group_id            = aws_security_group.endpoints[0].id
  description                  = "The service"
  referenced_security_group_id = aws_security_group.service.id
  ip_protocol                  = "tcp"
  from_port                    = 443
  to_port                      = 443
}

# Without endpoints AWS is at public addresses, as is the rest of the internet.
resource "aws_vpc_security_group_egress_rule" "internet" {
  count = var.egress == "endpoints" ? 0 : 1

  security_group_id = aws_security_group.service.id
  description       = "AWS and the internet by HTTPS"
  cidr_ipv4         = "0.0.0.0/0"
  ip_protocol       = "tcp"
  from_port         = 443
  to_port           = 443
}

resource "aws_vpc_security_group_egress_rule" "s3" {
  count = var.egress == "endpoints" ? 1 : 0

  security_group_id = aws_security_group.service.id
  description       = "S3 by its gateway"
  prefix_list_id    = aws_vpc_endpoint.s3[0].prefix_list_id
  ip_protocol       = "tcp"
  from_port         = 443
  to_port           = 443
}
