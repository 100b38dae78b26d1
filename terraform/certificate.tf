# The domain's certificate and its records. AWS renews it for as long as the validation
# record is there.

locals {
  domains = toset(compact([var.domain]))
}

data "aws_route53_zone" "this" {
  for_each = local.domains

  name         = var.hosted_zone
  private_zone = false
}

resource "aws_acm_certificate" "this" {
  count = var.domain == null ? 0 : 1

  domain_name       = var.domain
  validation_method = "DNS"

  lifecycle {
    create_before_destroy = true
  }
}

resource "aws_route53_record" "validation" {
  for_each = local.domains

  zone_id = data.aws_route53_zone.this[each.key].zone_id
  name    = one(aws_acm_certificate.this[0].domain_validation_options).resource_record_name
  type    = one(aws_acm_certificate.this[0].domain_validation_options).resource_record_type
  records = [one(aws_acm_certificate.this[0].domain_validation_options).resource_record_value]
  ttl     = 300
}

resource "aws_acm_certificate_validation" "this" {
  count = var.domain == null ? 0 : 1

  certificate_arn         = aws_acm_certificate.this[0].arn
  validation_record_fqdns = [for record in aws_route53_record.validation : record.fqdn]
}

resource "aws_route53_record" "this" {
  for_each = local.domains

  zone_id = data.aws_route53_zone.this[each.key].zone_id
  name    = each.key
  type    = "A"

  alias {
    zone_id = aws_lb.this.zone_id
    name    = aws_lb.this.dns_name
    # There is no second balancer to send clients to.
    evaluate_target_health = false
  }
}
