# Notifications, and what AWS reports by itself: the progress of rolls, and backups that fail.

resource "aws_sns_topic" "alarms" {
  name              = "${local.name}-alarms"
  kms_master_key_id = aws_kms_key.this.arn
}

data "aws_iam_policy_document" "alarms" {
  statement {
    sid       = "Alarms"
    actions   = ["sns:Publish"]
    resources = [aws_sns_topic.alarms.arn]

    principals {
      type        = "Service"
      identifiers = ["cloudwatch.amazonaws.com"]
    }

    condition {
      test     = "StringEquals"
      variable = "aws:SourceAccount"
      values   = [local.account_id]
    }
  }

  # Without a condition, as in AWS's example. With encrypted topics EventBridge does not
  # say for which account it publishes (SNS Developer Guide, "Key management"), and what
  # is refused is lost without a word.
  statement {
    sid       = "Events"
    actions   = ["sns:Publish"]
    resources = [aws_sns_topic.alarms.arn]

    principals {
      type        = "Service"
      identifiers = ["events.amazonaws.com"]
    }
  }

  statement {
    sid       = "TlsOnly"
    effect    = "Deny"
    actions   = ["sns:Publish"]
    resources = [aws_sns_topic.alarms.arn]

    principals {
      type        = "*"
      identifiers = ["*"]
    }

    condition {
      test     = "Bool"
      variable = "aws:SecureTransport"
      values   = ["false"]
    }
  }
}

resource "aws_sns_topic_policy" "alarms" {
  arn    = aws_sns_topic.alarms.arn
  policy = data.aws_iam_policy_document.alarms.json
}

resource "aws_sns_topic_subscription" "alarms" {
  for_each = var.alarm_emails

  topic_arn = aws_sns_topic.alarms.arn
  protocol  = "email"
  endpoint  = each.value
}

locals {
  # EventBridge counts what a rule matches, target or not, so each kind of event has a
  # rule: the counts mark rolls on the dashboard, whatever starts them.
  roll_events = {
    started     = ["Started"]
    baking      = ["Started Baking"]
    succeeded   = ["Succeeded"]
    failed      = ["Failed", "Cancelled", "Rollback Started", "Rollback Failed"]
    rolled_back = ["Rollback Succeeded"]
  }
}

resource "aws_cloudwatch_event_rule" "roll" {
  for_each = local.roll_events

  name        = "${local.name}-roll-${replace(each.key, "_", "-")}"
  description = "A roll of ${local.name}: ${lower(join(", ", each.value))}."

  event_pattern = jsonencode({
    source        = ["aws.autoscaling"]
    "detail-type" = [for event in each.value : "EC2 Auto Scaling Instance Refresh ${event}"]
    detail        = { AutoScalingGroupName = [aws_autoscaling_group.this.name] }
  })
}

resource "aws_cloudwatch_event_target" "roll" {
  for_each = toset(["failed", "rolled_back"])

  rule = aws_cloudwatch_event_rule.roll[each.key].name
  arn  = aws_sns_topic.alarms.arn

  input_transformer {
    input_paths = {
      event   = "$.detail-type"
      group   = "$.detail.AutoScalingGroupName"
      refresh = "$.detail.InstanceRefreshId"
      time    = "$.time"
    }
    # A JSON string; jsonencode would spoil the angle brackets. The event has no reason.
    input_template = "\"<event>: group <group>, refresh <refresh>, at <time>. For the reason: aws autoscaling describe-instance-refreshes --region ${var.region} --auto-scaling-group-name <group> --instance-refresh-ids <refresh>\""
  }
}

resource "aws_cloudwatch_event_rule" "backup_failed" {
  name        = "${local.name}-backup-failed"
  description = "A backup of ${local.name}, or its copy to the recovery region, failed."

  event_pattern = jsonencode({
    source        = ["aws.backup"]
    "detail-type" = ["Backup Job State Change", "Copy Job State Change"]
    detail = {
      state       = ["FAILED", "ABORTED", "EXPIRED"]
      resourceArn = concat(module.sqlite[*].file_system_arn, module.postgres[*].arn)
    }
  })
}

resource "aws_cloudwatch_event_target" "backup_failed" {
  rule = aws_cloudwatch_event_rule.backup_failed.name
  arn  = aws_sns_topic.alarms.arn

  input_transformer {
    input_paths = {
      event    = "$.detail-type"
      resource = "$.detail.resourceArn"
      state    = "$.detail.state"
      time     = "$.time"
    }
    # AWS's reason is left out: its quotes would spoil the message.
    input_template = "\"<event>: <state>, of <resource>, at <time>. For the reason: aws backup list-backup-jobs (or list-copy-jobs) --region ${var.region} --by-resource-arn <resource>\""
  }
}
