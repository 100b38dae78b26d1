# Log groups of the instances: the CloudWatch agent of the image writes to them.

resource "aws_cloudwatch_log_group" "service" {
  #checkov:skip=CKV_AWS_338: The operator chooses how long logs are kept.
  name              = "/${local.name}/service"
  retention_in_days = var.log_retention_days
  kms_key_id        = aws_kms_key.this.arn
}

resource "aws_cloudwatch_log_group" "metrics" {
  #checkov:skip=CKV_AWS_338: CloudWatch extracts metrics from these lines, and keeps those for 15 months.
  name              = "/${local.name}/metrics"
  retention_in_days = var.log_retention_days
  kms_key_id        = aws_kms_key.this.arn
}
