# One key per region encrypts logs, files, passwords, alarms and backups. The instances'
# disks hold no data and use the AWS-managed key: a key of the stack would have to name the
# service-linked role of Auto Scaling, which a new account lacks.

locals {
  # As by default: the account's IAM policies decide who uses the key.
  key_of_account = {
    Effect    = "Allow"
    Principal = { AWS = "${local.arn_prefix}:iam::${local.account_id}:root" }
    Action    = "kms:*"
    Resource  = "*"
  }
}

resource "aws_kms_key" "this" {
  description         = "Logs, data and alarms of ${local.name}"
  enable_key_rotation = true

  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      local.key_of_account,
      {
        Effect    = "Allow"
        Principal = { Service = "logs.${var.region}.${data.aws_partition.this.dns_suffix}" }
        Action    = ["kms:Encrypt*", "kms:Decrypt*", "kms:ReEncrypt*", "kms:GenerateDataKey*", "kms:Describe*"]
        Resource  = "*"
        Condition = { ArnLike = {
          "kms:EncryptionContext:aws:logs:arn" = "${local.arn_prefix}:logs:${var.region}:${local.account_id}:log-group:*"
        } }
      },
      {
        # Alarms and events are published to an encrypted topic. The topic stands in for
        # aws:SourceAccount, which EventBridge does not send with an encrypted one.
        # https://docs.aws.amazon.com/sns/latest/dg/sns-key-management.html
        Effect    = "Allow"
        Principal = { Service = ["cloudwatch.amazonaws.com", "events.amazonaws.com"] }
        Action    = ["kms:Decrypt", "kms:GenerateDataKey*"]
        Resource  = "*"
        Condition = { ArnLike = {
          "kms:EncryptionContext:aws:sns:topicArn" = "${local.arn_prefix}:sns:${var.region}:${local.account_id}:${local.name}*"
        } }
      },
    ]
  })
}

resource "aws_kms_alias" "this" {
  name          = "alias/${local.name}"
  target_key_id = aws_kms_key.this.key_id
}

resource "aws_kms_key" "recovery" {
  provider = aws.recovery

  description         = "Copies of the backups of ${local.name}"
  enable_key_rotation = true

  policy = jsonencode({
    Version   = "2012-10-17"
    Statement = [local.key_of_account]
  })
}

resource "aws_kms_alias" "recovery" {
  provider = aws.recovery

  name          = "alias/${local.name}"
  target_key_id = aws_kms_key.recovery.key_id
}
