# The role of the instances: Session Manager, their logs and metrics, their parameters, and
# their database. Nothing else.

data "aws_iam_policy_document" "instance_trust" {
  statement {
    actions = ["sts:AssumeRole"]

    principals {
      type        = "Service"
      identifiers = ["ec2.amazonaws.com"]
    }
  }
}

data "aws_iam_policy_document" "instance" {
  #checkov:skip=CKV_AWS_111: Sessions and metrics have no resource that a policy could name.
  #checkov:skip=CKV_AWS_356: Sessions and metrics have no resource that a policy could name.

  # The actions of Session Manager's agent; AWS's managed policy for it also allows reading
  # every parameter.
  statement {
    sid = "BeManaged"
    actions = [
      "ssm:UpdateInstanceInformation",
      "ssmmessages:CreateControlChannel",
      "ssmmessages:CreateDataChannel",
      "ssmmessages:OpenControlChannel",
      "ssmmessages:OpenDataChannel",
    ]
    resources = ["*"]
  }

  statement {
    sid       = "SendLogs"
    actions   = ["logs:CreateLogStream", "logs:DescribeLogStreams", "logs:PutLogEvents"]
    resources = [for group in [aws_cloudwatch_log_group.service, aws_cloudwatch_log_group.metrics] : "${group.arn}:*"]
  }

  statement {
    sid       = "SendMetrics"
    actions   = ["cloudwatch:PutMetricData"]
    resources = ["*"]

    condition {
      test     = "StringEquals"
      variable = "cloudwatch:namespace"
      values   = [local.name]
    }
  }

  statement {
    sid       = "ReadItsParameters"
    actions   = ["ssm:GetParameter", "ssm:GetParameters", "ssm:GetParametersByPath"]
    resources = ["${local.arn_prefix}:ssm:${var.region}:${local.account_id}:parameter/hello-birthday/${var.environment}/*"]
  }

  statement {
    sid       = "Decrypt"
    actions   = ["kms:Decrypt"]
    resources = [aws_kms_key.this.arn]

    condition {
      test     = "StringEquals"
      variable = "kms:ViaService"
      values   = ["ssm.${var.region}.amazonaws.com"]
    }
  }

  dynamic "statement" {
    for_each = module.postgres[*].cluster_resource_id

    content {
      sid       = "SignInToItsDatabase"
      actions   = ["rds-db:connect"]
      resources = [for role in values(local.database_roles) : "${local.arn_prefix}:rds-db:${var.region}:${local.account_id}:dbuser:${statement.value}/${role}"]
    }
  }

  dynamic "statement" {
    for_each = module.sqlite[*]

    content {
      sid       = "MountItsFiles"
      actions   = ["elasticfilesystem:ClientMount", "elasticfilesystem:ClientWrite"]
      resources = [statement.value.file_system_arn]

      condition {
        test     = "StringEquals"
        variable = "elasticfilesystem:AccessPointArn"
        values   = [statement.value.access_point_arn]
      }
    }
  }

  # Files that AWS Backup restored, to copy from.
  dynamic "statement" {
    for_each = module.sqlite[*]

    content {
      sid       = "ReadWhatWasRestored"
      actions   = ["elasticfilesystem:ClientMount"]
      resources = [statement.value.file_system_arn]

      condition {
        test     = "StringEquals"
        variable = "elasticfilesystem:AccessPointArn"
        values   = [statement.value.restored_access_point_arn]
      }
    }
  }
}

resource "aws_iam_role" "instance" {
  name                 = "${local.global_name}-instance"
  description          = "What an instance of ${local.name} may do"
  assume_role_policy   = data.aws_iam_policy_document.instance_trust.json
  permissions_boundary = var.permissions_boundary
}

resource "aws_iam_role_policy" "instance" {
  name   = "instance"
  role   = aws_iam_role.instance.id
  policy = data.aws_iam_policy_document.instance.json
}

resource "aws_iam_instance_profile" "instance" {
  name = aws_iam_role.instance.name
  role = aws_iam_role.instance.name
}
