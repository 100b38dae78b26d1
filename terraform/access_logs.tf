# Every request to the balancer, with its path, and so with a username: the balancer cannot
# leave it out. It is the one log that holds personal data, so it is kept apart from the
# others, and for a shorter time.

locals {
  # Long enough to look into what somebody reports.
  access_log_days = min(var.log_retention_days, 30)
}

resource "aws_s3_bucket" "access_logs" {
  #checkov:skip=CKV_AWS_145: The balancer can write with S3's own keys alone.
  #checkov:skip=CKV_AWS_21: An older version would outlive the days that a log is kept.
  #checkov:skip=CKV_AWS_144: A copy in another region would be more personal data, and of use to nobody.
  #checkov:skip=CKV_AWS_18: CloudTrail records reads of the account's buckets.
  #checkov:skip=CKV2_AWS_62: Nothing waits for these logs.

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
      # The balancer can write with no other.
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
