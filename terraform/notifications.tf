# Where alarms go: `urgent` is for what clients notice now, `routine` for what can wait until
# the morning. AWS's own reports of failed releases and backups are routine.

locals {
  topics = {
    urgent  = { emails = var.alarm_emails.urgent, others = var.alarm_topic_arns.urgent, publishers = ["cloudwatch.amazonaws.com"] }
    routine = { emails = var.alarm_emails.routine, others = var.alarm_topic_arns.routine, publishers = ["cloudwatch.amazonaws.com", "events.amazonaws.com"] }
  }

  # What an alarm is given as its actions.
  urgent  = concat([aws_sns_topic.alarms["urgent"].arn], tolist(local.topics.urgent.others))
  routine = concat([aws_sns_topic.alarms["routine"].arn], tolist(local.topics.routine.others))

  emails = merge([for topic, settings in local.topics : {
    for address in settings.emails : "${topic} ${address}" => { topic = topic, address = address }
  }]...)
}

resource "aws_sns_topic" "alarms" {
  for_each = local.topics

  name              = "${local.name}-${each.key}"
  kms_master_key_id = aws_kms_key.this.arn
}

data "aws_iam_policy_document" "alarms" {
  for_each = local.topics

  dynamic "statement" {
    for_each = toset(each.value.publishers)

    content {
      sid       = statement.value == "events.amazonaws.com" ? "Events" : "Alarms"
      actions   = ["sns:Publish"]
      resources = [aws_sns_topic.alarms[each.key].arn]

      principals {
        type        = "Service"
        identifiers = [statement.value]
      }

      # EventBridge does not say for which account it publishes to an encrypted topic, and
      # what is refused is lost without a message (SNS Developer Guide, "Key management").
      dynamic "condition" {
        for_each = statement.value == "events.amazonaws.com" ? [] : [local.account_id]

        content {
          test     = "StringEquals"
          variable = "aws:SourceAccount"
          values   = [condition.value]
        }
      }
    }
  }

  statement {
    sid       = "TlsOnly"
    effect    = "Deny"
    actions   = ["sns:Publish"]
    resources = [aws_sns_topic.alarms[each.key].arn]

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
  for_each = local.topics

  arn    = aws_sns_topic.alarms[each.key].arn
  policy = data.aws_iam_policy_document.alarms[each.key].json
}

resource "aws_sns_topic_subscription" "alarms" {
  for_each = local.emails

  topic_arn = aws_sns_topic.alarms[each.value.topic].arn
  protocol  = "email"
  endpoint  = each.value.address
}

locals {
  # Keys that are known before the topic is.
  event_targets = merge(
    { routine = aws_sns_topic.alarms["routine"].arn },
    { for arn in local.topics.routine.others : arn => arn },
  )
}

resource "aws_cloudwatch_event_rule" "roll" {
  name        = "${local.name}-roll-failed"
  description = "An instance refresh of ${local.name} failed, was cancelled or was rolled back."

  event_pattern = jsonencode({
    source        = ["aws.autoscaling"]
    "detail-type" = [for outcome in ["Failed", "Cancelled", "Rollback Succeeded", "Rollback Failed"] : "EC2 Auto Scaling Instance Refresh ${outcome}"]
    detail        = { AutoScalingGroupName = [aws_autoscaling_group.this.name] }
  })
}

resource "aws_cloudwatch_event_target" "roll" {
  for_each = local.event_targets

  rule = aws_cloudwatch_event_rule.roll.name
  arn  = each.value

  input_transformer {
    input_paths = {
      event   = "$.detail-type"
      group   = "$.detail.AutoScalingGroupName"
      refresh = "$.detail.InstanceRefreshId"
      time    = "$.time"
    }
    # A JSON string; jsonencode would escape the angle brackets. The event has no reason.
    input_template = "\"<event>: group <group>, refresh <refresh>, at <time>. The old version runs on. For the reason: aws autoscaling describe-instance-refreshes --region ${var.region} --auto-scaling-group-name <group> --instance-refresh-ids <refresh>\""
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
      resourceArn = concat(module.sqlite[*].file_system_arn, module.postgres[*].cluster_arn)
    }
  })
}

resource "aws_cloudwatch_event_target" "backup_failed" {
  for_each = local.event_targets

  rule = aws_cloudwatch_event_rule.backup_failed.name
  arn  = each.value

  input_transformer {
    input_paths = {
      event    = "$.detail-type"
      resource = "$.detail.resourceArn"
      state    = "$.detail.state"
      time     = "$.time"
    }
    # AWS's reason is left out: its quotes would break the JSON string.
    input_template = "\"<event>: <state>, of <resource>, at <time>. For the reason: aws backup list-backup-jobs (or list-copy-jobs) --region ${var.region} --by-resource-arn <resource>\""
  }
}
