# What an apply changes of the services whose ARNs hold names, and of certificates and user
# pools, whose ARNs do not.

data "aws_iam_policy_document" "service" {
  for_each = local.stacks

  statement {
    sid       = "Group"
    actions   = ["autoscaling:*"]
    resources = [for name in local.names[each.key] : "${local.arn}:autoscaling:*:${local.account}:autoScalingGroup:*:autoScalingGroupName/${name}"]
  }

  # Instances in another's target group would receive its requests.
  dynamic "statement" {
    for_each = { TargetGroupARNs = "ForAnyValue:ArnNotLike", TrafficSourceIdentifiers = "ForAnyValue:StringNotLike" }

    content {
      sid       = "NoOther${statement.key}"
      effect    = "Deny"
      actions   = ["autoscaling:*"]
      resources = ["*"]

      condition {
        test     = statement.value
        variable = "autoscaling:${statement.key}"
        values   = [for name in local.names[each.key] : "${local.arn}:elasticloadbalancing:*:${local.account}:targetgroup/${name}/*"]
      }
    }
  }

  statement {
    sid     = "LoadBalancer"
    actions = ["elasticloadbalancing:*", "wafv2:AssociateWebACL", "wafv2:DisassociateWebACL"]
    resources = [for pair in setproduct(["listener-rule/app", "listener/app", "loadbalancer/app", "targetgroup"], local.names[each.key]) :
      "${local.arn}:elasticloadbalancing:*:${local.account}:${join("/", pair)}/*"
    ]
  }

  statement {
    sid       = "Firewall"
    resources = [for name in local.names[each.key] : "${local.arn}:wafv2:*:${local.account}:regional/webacl/${name}/*"]
    actions = [
      "wafv2:AssociateWebACL",
      "wafv2:CreateWebACL",
      "wafv2:DeleteWebACL",
      "wafv2:DisassociateWebACL",
      "wafv2:TagResource",
      "wafv2:UntagResource",
      "wafv2:UpdateWebACL",
    ]
  }

  # Those of target tracking are made by Auto Scaling, and named by it.
  statement {
    sid = "AlarmsAndDashboards"
    resources = concat(
      [for name in local.names[each.key] : "${local.arn}:cloudwatch:*:${local.account}:alarm:${name}"],
      [for name in local.names[each.key] : "${local.arn}:cloudwatch::${local.account}:dashboard/${name}"],
      ["${local.arn}:cloudwatch:*:${local.account}:alarm:TargetTracking-${each.value}-AlarmHigh-*"],
      ["${local.arn}:cloudwatch:*:${local.account}:alarm:TargetTracking-${each.value}-AlarmLow-*"],
    )
    actions = [
      "cloudwatch:DeleteAlarms",
      "cloudwatch:DeleteDashboards",
      "cloudwatch:PutCompositeAlarm",
      "cloudwatch:PutDashboard",
      "cloudwatch:PutMetricAlarm",
      "cloudwatch:TagResource",
      "cloudwatch:UntagResource",
    ]
  }

  statement {
    sid       = "Logs"
    resources = [for folder in ["", "/aws/rds/cluster", "/aws/rds/instance"] : "${local.arn}:logs:*:${local.account}:log-group:${folder}/${each.value}/*"]
    actions = [
      "logs:AssociateKmsKey",
      "logs:CreateLogGroup",
      "logs:DeleteLogGroup",
      "logs:DeleteMetricFilter",
      "logs:DeleteRetentionPolicy",
      "logs:DisassociateKmsKey",
      "logs:PutMetricFilter",
      "logs:PutRetentionPolicy",
      "logs:TagResource",
      "logs:UntagResource",
    ]
  }

  statement {
    sid       = "Topics"
    actions   = ["sns:CreateTopic", "sns:DeleteTopic", "sns:SetSubscriptionAttributes", "sns:SetTopicAttributes", "sns:Subscribe", "sns:TagResource", "sns:Unsubscribe", "sns:UntagResource"]
    resources = ["${local.arn}:sns:*:${local.account}:${each.value}-*"]
  }

  statement {
    sid       = "Rules"
    actions   = ["events:DeleteRule", "events:DisableRule", "events:EnableRule", "events:PutRule", "events:PutTargets", "events:RemoveTargets", "events:TagResource", "events:UntagResource"]
    resources = ["${local.arn}:events:*:${local.account}:rule/${each.value}-*"]
  }

  statement {
    sid       = "Parameters"
    actions   = ["ssm:AddTagsToResource", "ssm:DeleteParameter", "ssm:PutParameter", "ssm:RemoveTagsFromResource"]
    resources = ["${local.arn}:ssm:*:${local.account}:parameter/hello-birthday/${each.key}/*"]
  }

  # Not what is in them: a stack with its access logs is destroyed by an administrator.
  statement {
    sid       = "Buckets"
    resources = ["${local.arn}:s3:::${each.value}-*"]
    actions = [
      "s3:CreateBucket",
      "s3:DeleteBucket",
      "s3:DeleteBucketPolicy",
      "s3:PutBucket*",
      "s3:PutEncryptionConfiguration",
      "s3:PutLifecycleConfiguration",
    ]
  }

  statement {
    sid       = "MakeByTag"
    actions   = ["acm:RequestCertificate", "cognito-idp:CreateUserPool"]
    resources = ["*"]

    condition {
      test     = "StringEquals"
      variable = "aws:RequestTag/Environment"
      values   = [each.key]
    }
  }

  # Neither service distinguishes tags on creation from later ones, so what has no tag may be given
  # one; what has another environment's may not.
  statement {
    sid       = "TagByTag"
    actions   = ["acm:AddTagsToCertificate", "cognito-idp:TagResource"]
    resources = ["${local.arn}:acm:*:${local.account}:certificate/*", "${local.arn}:cognito-idp:*:${local.account}:userpool/*"]

    condition {
      test     = "StringEquals"
      variable = "aws:RequestTag/Environment"
      values   = [each.key]
    }

    condition {
      test     = "StringEqualsIfExists"
      variable = "aws:ResourceTag/Environment"
      values   = [each.key]
    }
  }

  statement {
    sid       = "ChangeByTag"
    resources = ["${local.arn}:acm:*:${local.account}:certificate/*", "${local.arn}:cognito-idp:*:${local.account}:userpool/*"]
    actions = [
      "acm:DeleteCertificate",
      "acm:UpdateCertificateOptions",
      "cognito-idp:*UserPool",
      "cognito-idp:*UserPoolClient",
      "cognito-idp:*UserPoolDomain",
      "cognito-idp:SetUserPoolMfaConfig",
    ]

    condition {
      test     = "StringEquals"
      variable = "aws:ResourceTag/Environment"
      values   = [each.key]
    }
  }
}
