# Optional: blocks an address above a rate. No logs and no samples of requests, whose paths
# hold usernames.

resource "aws_wafv2_web_acl" "this" {
  #checkov:skip=CKV_AWS_192: There is no Java here, so no Log4j.
  #checkov:skip=CKV2_AWS_31: Its log would hold usernames, and its metrics show how many requests it blocks.

  count = var.rate_limit == null ? 0 : 1

  name  = local.name
  scope = "REGIONAL"

  default_action {
    allow {}
  }

  rule {
    name     = "rate-limit"
    priority = 0

    action {
      block {
        custom_response {
          response_code = 429

          response_header {
            name  = "Retry-After"
            value = "300"
          }
        }
      }
    }

    statement {
      rate_based_statement {
        limit                 = var.rate_limit
        aggregate_key_type    = "IP"
        evaluation_window_sec = 300
      }
    }

    visibility_config {
      metric_name                = "rate-limit"
      cloudwatch_metrics_enabled = true
      sampled_requests_enabled   = false
    }
  }

  visibility_config {
    metric_name                = local.name
    cloudwatch_metrics_enabled = true
    sampled_requests_enabled   = false
  }
}

resource "aws_wafv2_web_acl_association" "this" {
  count = var.rate_limit == null ? 0 : 1

  web_acl_arn  = aws_wafv2_web_acl.this[0].arn
  resource_arn = aws_lb.this.arn
}
