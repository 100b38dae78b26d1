locals {
  url = var.domain == null ? "http://${aws_lb.this.dns_name}" : "https://${var.domain}"
}

resource "aws_lb" "this" {
  #checkov:skip=CKV2_AWS_76: There is no Java here, so no Log4j.

  name            = local.name
  internal        = false
  subnets         = local.public_subnet_ids
  security_groups = [aws_security_group.load_balancer.id]

  # Shorter than the service's --keep-alive-timeout, 75 s by default, so that the load
  # balancer closes idle connections and no request meets a closed one.
  idle_timeout = 60

  drop_invalid_header_fields = true
  # The strictest mode also rejects clients that are only careless; in this one ambiguous
  # requests get a connection of their own.
  desync_mitigation_mode = "defensive"
  # The service does not need clients' addresses.
  xff_header_processing_mode = "remove"

  enable_deletion_protection = var.deletion_protection

  access_logs {
    bucket  = aws_s3_bucket.access_logs.id
    enabled = true
  }

  # AWS tests the bucket's policy, and requires a route to the internet.
  depends_on = [aws_route.internet, aws_s3_bucket_policy.access_logs]
}

resource "aws_lb_target_group" "this" {
  #checkov:skip=CKV_AWS_378: TLS ends at the balancer; from there it is one hop between two groups of one network.

  name     = local.name
  vpc_id   = local.vpc_id
  port     = 8080
  protocol = "HTTP"

  # A slow instance gets fewer requests, in a burst as in a roll.
  load_balancing_algorithm_type = "least_outstanding_requests"

  # The service finishes requests in flight; the load balancer waits for it.
  deregistration_delay = var.drain_timeout_seconds + 10

  health_check {
    port    = 8081
    path    = "/readyz"
    matcher = "200"

    # Ready for requests ten seconds after the service is.
    interval          = 5
    healthy_threshold = 2
    # Fifteen seconds, of which an answer may take four: the group replaces what fails, and
    # replacing an overloaded instance would overload the others.
    timeout             = 4
    unhealthy_threshold = 3
  }
}

resource "aws_lb_listener" "http" {
  load_balancer_arn = aws_lb.this.arn
  port              = 80
  protocol          = "HTTP"

  default_action {
    type             = var.domain == null ? "forward" : "redirect"
    target_group_arn = var.domain == null ? aws_lb_target_group.this.arn : null

    dynamic "redirect" {
      for_each = var.domain == null ? [] : ["https"]

      content {
        protocol    = "HTTPS"
        port        = "443"
        status_code = "HTTP_301"
      }
    }
  }
}

resource "aws_lb_listener" "https" {
  count = var.domain == null ? 0 : 1

  load_balancer_arn = aws_lb.this.arn
  port              = 443
  protocol          = "HTTPS"
  certificate_arn   = local.certificate_arn

  # AWS's recommendation: TLS 1.3, or TLS 1.2 with forward secrecy and authenticated ciphers,
  # and post-quantum key exchange.
  ssl_policy = "ELBSecurityPolicy-TLS13-1-2-Res-PQ-2025-09"

  # HSTS: browsers use HTTPS alone for a year after a visit.
  routing_http_response_strict_transport_security_header_value = "max-age=31536000"

  dynamic "default_action" {
    for_each = var.sign_in ? ["cognito"] : []

    content {
      type = "authenticate-cognito"

      authenticate_cognito {
        user_pool_arn       = aws_cognito_user_pool.this[0].arn
        user_pool_client_id = aws_cognito_user_pool_client.this[0].id
        user_pool_domain    = aws_cognito_user_pool_domain.this[0].domain
      }
    }
  }

  default_action {
    type             = "forward"
    target_group_arn = aws_lb_target_group.this.arn
  }
}
