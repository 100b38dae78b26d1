# Where the instances' agent sends what the service and its host log, and the service's
# metrics. The image holds these names, so an account and region has room for one stack.

resource "aws_cloudwatch_log_group" "service" {
  #checkov:skip=CKV_AWS_338: The operator chooses how long logs are kept.
  name              = "/hello-birthday"
  retention_in_days = var.log_retention_days
  kms_key_id        = aws_kms_key.this.arn
}

resource "aws_cloudwatch_log_group" "metrics" {
  #checkov:skip=CKV_AWS_338: CloudWatch makes metrics of these lines, and keeps those for 15 months.
  name              = "/hello-birthday/metrics"
  retention_in_days = var.log_retention_days
  kms_key_id        = aws_kms_key.this.arn
}
