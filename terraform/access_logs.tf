# Access logs of the load balancer. It cannot omit a request's path, which holds a username,
# so this log alone holds personal data. It is kept apart, and for a shorter time.

locals {
  # Long enough to investigate a report.
  access_log_days = min(var.log_retention_days, 30)
}

resource "aws_s3_bucket" "access_logs" {
  #checkov:skip=CKV_AWS_145: The load balancer can only write with S3-managed keys.
  #checkov:skip=CKV_AWS_21: Older versions would be kept beyond the retention time.
  #checkov:skip=CKV_AWS_144: A copy in another region would be more personal data without a use.
  #checkov:skip=CKV_AWS_18: CloudTrail records reads of the account's buckets.
  #checkov:skip=CKV2_AWS_62: No consumer is notified of new logs.

  bucket        = "${local.name}-logs-${local.account_id}-${var.region}"
  force_destroy = !var.deletion_protection
}

resource "aws_s3_bucket_public_access_block" "access_logs" {
  bucket = aws_s3_bucket.access_logs.id

  block_public_acls       = true
  block_public_policy     = true
  ignore_public_acls      = true
  restrict_public_buckets = true
}

resource "aws_s3_bucket_ownership_controls" "access_logs" {
  bucket = aws_s3_bucket.access_logs.id

  rule {
    object_ownership = "BucketOwnerEnforced"
  }
}

resource "aws_s3_bucket_server_side_encryption_configuration" "access_logs" {
  bucket = aws_s3_bucket.access_logs.id

  rule {
    apply_server_side_encryption_by_default {
      # The only one that the load balancer supports.
      sse_algorithm = "AES256"
    }
  }
}

resource "aws_s3_bucket_lifecycle_configuration" "access_logs" {
  bucket = aws_s3_bucket.access_logs.id

  rule {
    id     = "expire"
    status = "Enabled"

    filter {}

    expiration {
      days = local.access_log_days
    }

    abort_incomplete_multipart_upload {
      days_after_initiation = 1
    }
  }
}

resource "aws_s3_bucket_policy" "access_logs" {
  bucket = aws_s3_bucket.access_logs.id

  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      {
        Effect    = "Allow"
        Principal = { Service = "logdelivery.elasticloadbalancing.amazonaws.com" }
        Action    = "s3:PutObject"
        Resource  = "${aws_s3_bucket.access_logs.arn}/AWSLogs/${local.account_id}/*"
        Condition = { ArnLike = {
          "aws:SourceArn" = "${local.arn_prefix}:elasticloadbalancing:${var.region}:${local.account_id}:loadbalancer/*"
        } }
      },
      {
        Effect    = "Deny"
        Principal = "*"
        Action    = "s3:*"
        Resource  = [aws_s3_bucket.access_logs.arn, "${aws_s3_bucket.access_logs.arn}/*"]
        Condition = { Bool = { "aws:SecureTransport" = "false" } }
      },
    ]
  })
}
