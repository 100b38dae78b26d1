# The domain's certificate and its records. AWS renews the certificate as long as its
# validation record exists.

locals {
  # Domains with records, and with a certificate, made here.
  domains   = var.hosted_zone == null ? toset([]) : toset(compact([var.domain]))
  validated = var.certificate_arn == null ? local.domains : toset([])

  certificate_arn = var.certificate_arn == null ? one(aws_acm_certificate_validation.this[*].certificate_arn) : var.certificate_arn
}

data "aws_route53_zone" "this" {
  for_each = local.domains

  name         = var.hosted_zone
  private_zone = false
}

resource "aws_acm_certificate" "this" {
  count = length(local.validated)

  domain_name       = var.domain
  validation_method = "DNS"

  lifecycle {
    create_before_destroy = true
  }
}

resource "aws_route53_record" "validation" {
  for_each = local.validated

  zone_id = data.aws_route53_zone.this[each.key].zone_id
  name    = one(aws_acm_certificate.this[0].domain_validation_options).resource_record_name
  type    = one(aws_acm_certificate.this[0].domain_validation_options).resource_record_type
  records = [one(aws_acm_certificate.this[0].domain_validation_options).resource_record_value]
  ttl     = 300
}

resource "aws_acm_certificate_validation" "this" {
  count = length(local.validated)

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
    # There is no second load balancer to fail over to.
    evaluate_target_health = false
  }
}
