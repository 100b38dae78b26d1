# What the role of an environment may change: its own stack. Where the ARNs of a service hold
# names, rules are by name; elsewhere by the tag Environment, which is required on what is
# made and on what is changed. No role made here is a stack's by its name: these are in the
# folder /terraform/.

locals {
  # The policies of a role, each within the 6,144 characters of a managed policy.
  changes = {
    network  = data.aws_iam_policy_document.network
    service  = data.aws_iam_policy_document.service
    database = data.aws_iam_policy_document.database
  }
  changes_by_environment = { for pair in setproduct(keys(local.changes), var.environments) :
    join("-", pair) => { environment = pair[1], json = local.changes[pair[0]][pair[1]].json }
  }
}

resource "aws_iam_policy" "change" {
  for_each = local.changes_by_environment

  name        = "hello-birthday-${each.key}"
  path        = "/terraform/"
  description = "Changes to the stack ${each.value.environment}"
  policy      = each.value.json
}

resource "aws_iam_role_policy_attachment" "change" {
  for_each = local.changes_by_environment

  role       = aws_iam_role.apply[each.value.environment].name
  policy_arn = aws_iam_policy.change[each.key].arn
}

resource "aws_iam_role_policy_attachment" "apply_read" {
  for_each = var.environments

  role       = aws_iam_role.apply[each.key].name
  policy_arn = aws_iam_policy.read.arn
}

resource "aws_iam_role_policy" "apply" {
  for_each = var.environments

  name   = "stack"
  role   = aws_iam_role.apply[each.key].name
  policy = data.aws_iam_policy_document.apply[each.key].json
}

# Its state, the roles of its stack and the records of its zones.
data "aws_iam_policy_document" "apply" {
  for_each = local.state_keys

  statement {
    sid       = "FindState"
    actions   = ["s3:ListBucket"]
    resources = [aws_s3_bucket.state.arn]
  }

  statement {
    sid       = "State"
    actions   = ["s3:GetObject", "s3:PutObject"]
    resources = ["${aws_s3_bucket.state.arn}/${each.value}"]
  }

  statement {
    sid       = "StateLock"
    actions   = ["s3:GetObject", "s3:PutObject", "s3:DeleteObject"]
    resources = ["${aws_s3_bucket.state.arn}/${each.value}.tflock"]
  }

  statement {
    sid       = "StateKey"
    actions   = ["kms:Decrypt", "kms:GenerateDataKey"]
    resources = [aws_kms_key.state.arn]

    condition {
      test     = "StringEquals"
      variable = "kms:ViaService"
      values   = ["s3.${var.region}.amazonaws.com"]
    }
  }

  # The roles of a stack may do no more than its boundary allows, whatever their policies
  # say. Nothing here removes a boundary or changes one.
  statement {
    sid       = "BoundedRoles"
    resources = ["${local.iam}:role/${local.stacks[each.key]}-*"]
    actions = [
      "iam:AttachRolePolicy",
      "iam:CreateRole",
      "iam:DeleteRole",
      "iam:DeleteRolePolicy",
      "iam:DetachRolePolicy",
      "iam:PutRolePermissionsBoundary",
      "iam:PutRolePolicy",
      "iam:UpdateAssumeRolePolicy",
      "iam:UpdateRole",
    ]

    condition {
      test     = "StringEquals"
      variable = "iam:PermissionsBoundary"
      values   = [aws_iam_policy.boundary[each.key].arn]
    }
  }

  statement {
    sid       = "TagRoles"
    actions   = ["iam:TagRole", "iam:UntagRole", "iam:UpdateRoleDescription"]
    resources = ["${local.iam}:role/${local.stacks[each.key]}-*"]
  }

  statement {
    sid       = "InstanceProfiles"
    resources = ["${local.iam}:instance-profile/${local.stacks[each.key]}-*"]
    actions = [
      "iam:AddRoleToInstanceProfile",
      "iam:CreateInstanceProfile",
      "iam:DeleteInstanceProfile",
      "iam:RemoveRoleFromInstanceProfile",
      "iam:TagInstanceProfile",
      "iam:UntagInstanceProfile",
    ]
  }

  statement {
    sid       = "RolesForServices"
    actions   = ["iam:PassRole"]
    resources = ["${local.iam}:role/${local.stacks[each.key]}-*"]

    condition {
      test     = "StringEquals"
      variable = "iam:PassedToService"
      values = [
        "backup.amazonaws.com",
        "ec2.amazonaws.com",
        "monitoring.rds.amazonaws.com",
        "vpc-flow-logs.amazonaws.com",
      ]
    }
  }

  statement {
    sid       = "ServiceLinkedRoles"
    resources = ["${local.iam}:role/aws-service-role/*"]
    actions   = ["iam:CreateServiceLinkedRole"]

    condition {
      test     = "StringEquals"
      variable = "iam:AWSServiceName"
      values = [
        "autoscaling.amazonaws.com",
        "backup.amazonaws.com",
        "elasticfilesystem.amazonaws.com",
        "elasticloadbalancing.amazonaws.com",
        "rds.amazonaws.com",
        "wafv2.amazonaws.com",
      ]
    }
  }

  dynamic "statement" {
    for_each = contains(keys(var.hosted_zones), each.key) ? [var.hosted_zones[each.key]] : []

    content {
      sid       = "Records"
      actions   = ["route53:ChangeResourceRecordSets"]
      resources = [for id in statement.value : "${local.arn}:route53:::hostedzone/${id}"]
    }
  }

  # Whatever is allowed one day, by this or by another policy.
  statement {
    sid       = "NoOtherStack"
    effect    = "Deny"
    actions   = ["*"]
    resources = ["*"]

    condition {
      test     = "StringNotEquals"
      variable = "aws:ResourceTag/Environment"
      values   = [each.key]
    }

    condition {
      test     = "Null"
      variable = "aws:ResourceTag/Environment"
      values   = ["false"]
    }
  }
}
