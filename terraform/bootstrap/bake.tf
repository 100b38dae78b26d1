# What baking an image needs: an instance that Packer reaches by Session Manager, and the
# image of it. All that Packer makes carries its run_tags, and Purpose = "bake" among them;
# nothing of a stack does.
# https://developer.hashicorp.com/packer/integrations/hashicorp/amazon

locals {
  bake_tags = { Service = "hello-birthday", Purpose = "bake" }
}

# The role of the instance that becomes an image: it can be reached, and has no other rights.
resource "aws_iam_role" "bake_instance" {
  name        = "hello-birthday-bake-instance"
  path        = "/terraform/"
  description = "Lets Session Manager reach the instance that an image is baked on"

  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Principal = { Service = "ec2.amazonaws.com" }
      Action    = "sts:AssumeRole"
    }]
  })
}

resource "aws_iam_role_policy" "bake_instance" {
  name   = "sessions"
  role   = aws_iam_role.bake_instance.name
  policy = data.aws_iam_policy_document.bake_instance.json
}

resource "aws_iam_instance_profile" "bake" {
  name = aws_iam_role.bake_instance.name
  path = "/terraform/"
  role = aws_iam_role.bake_instance.name
}

data "aws_iam_policy_document" "bake_instance" {
  #checkov:skip=CKV_AWS_111: Sessions have no resource that a policy could name.
  #checkov:skip=CKV_AWS_356: Sessions have no resource that a policy could name.
  statement {
    sid       = "BeManaged"
    resources = ["*"]
    actions = [
      "ssm:UpdateInstanceInformation",
      "ssmmessages:CreateControlChannel",
      "ssmmessages:CreateDataChannel",
      "ssmmessages:OpenControlChannel",
      "ssmmessages:OpenDataChannel",
    ]
  }
}

resource "aws_iam_role_policy" "bake" {
  name   = "bake"
  role   = aws_iam_role.bake.name
  policy = data.aws_iam_policy_document.bake.json
}

data "aws_iam_policy_document" "bake" {
  #checkov:skip=CKV_AWS_356: What is listed and described has no resource to name.
  statement {
    sid       = "Look"
    actions   = ["ec2:Describe*"]
    resources = ["*"]
  }

  statement {
    sid       = "Make"
    actions   = ["ec2:CreateImage", "ec2:CreateSecurityGroup", "ec2:RunInstances"]
    resources = concat([for kind in ["instance", "security-group"] : "${local.ec2}:${kind}/*"], [for kind in ["image", "snapshot"] : "${local.arn}:ec2:*::${kind}/*"])

    condition {
      test     = "StringEquals"
      variable = "aws:RequestTag/Purpose"
      values   = [local.bake_tags.Purpose]
    }
  }

  statement {
    sid       = "RunWith"
    actions   = ["ec2:RunInstances"]
    resources = concat([for kind in ["network-interface", "volume"] : "${local.ec2}:${kind}/*"], [for kind in ["image", "snapshot"] : "${local.arn}:ec2:*::${kind}/*"])
  }

  # Any network but a stack's.
  statement {
    sid       = "RunIn"
    actions   = ["ec2:CreateSecurityGroup", "ec2:RunInstances"]
    resources = [for kind in ["subnet", "vpc"] : "${local.ec2}:${kind}/*"]

    condition {
      test     = "Null"
      variable = "aws:ResourceTag/Environment"
      values   = ["true"]
    }
  }

  # The key of one build, as Packer names it.
  statement {
    sid       = "BuildKey"
    actions   = ["ec2:CreateKeyPair", "ec2:DeleteKeyPair", "ec2:RunInstances"]
    resources = ["${local.ec2}:key-pair/packer_*"]
  }

  # Copies to other regions, of which only the image gets the tags.
  statement {
    sid       = "Copy"
    actions   = ["ec2:CopyImage"]
    resources = [for kind in ["image", "snapshot"] : "${local.arn}:ec2:*::${kind}/*"]
  }

  statement {
    sid       = "ChangeOwn"
    resources = concat(["${local.ec2}:*"], [for kind in ["image", "snapshot"] : "${local.arn}:ec2:*::${kind}/*"])
    actions = [
      "ec2:CreateImage",
      "ec2:DeleteSecurityGroup",
      "ec2:DeleteSnapshot",
      "ec2:DeregisterImage",
      "ec2:EnableImageDeprecation",
      "ec2:ModifyImageAttribute",
      "ec2:ModifySnapshotAttribute",
      "ec2:RunInstances",
      "ec2:StopInstances",
      "ec2:TerminateInstances",
    ]

    condition {
      test     = "StringEquals"
      variable = "aws:ResourceTag/Purpose"
      values   = [local.bake_tags.Purpose]
    }
  }

  statement {
    sid       = "TagNew"
    actions   = ["ec2:CreateTags"]
    resources = concat(["${local.ec2}:*"], [for kind in ["image", "snapshot"] : "${local.arn}:ec2:*::${kind}/*"])

    condition {
      test     = "StringEquals"
      variable = "ec2:CreateAction"
      values   = ["CopyImage", "CreateImage", "CreateKeyPair", "CreateSecurityGroup", "RunInstances"]
    }
  }

  statement {
    sid       = "TagOwn"
    actions   = ["ec2:CreateTags"]
    resources = concat(["${local.ec2}:*"], [for kind in ["image", "snapshot"] : "${local.arn}:ec2:*::${kind}/*"])

    condition {
      test     = "StringEquals"
      variable = "aws:ResourceTag/Purpose"
      values   = [local.bake_tags.Purpose]
    }
  }

  # The snapshot of a copy has no tag. It does not become one's own by these.
  statement {
    sid       = "TagSnapshotsOfCopies"
    actions   = ["ec2:CreateTags"]
    resources = ["${local.arn}:ec2:*::snapshot/*"]

    condition {
      test     = "Null"
      variable = "aws:RequestTag/Purpose"
      values   = ["true"]
    }

    condition {
      test     = "StringEquals"
      variable = "aws:RequestTag/Service"
      values   = [local.bake_tags.Service]
    }

    condition {
      test     = "Null"
      variable = "aws:ResourceTag/Service"
      values   = ["true"]
    }
  }

  # Whatever is tagged with both.
  statement {
    sid       = "NoStack"
    effect    = "Deny"
    actions   = ["*"]
    resources = ["*"]

    condition {
      test     = "Null"
      variable = "aws:ResourceTag/Environment"
      values   = ["false"]
    }
  }

  statement {
    sid       = "LookAtProfile"
    actions   = ["iam:GetInstanceProfile"]
    resources = [aws_iam_instance_profile.bake.arn]
  }

  statement {
    sid       = "GiveRole"
    actions   = ["iam:PassRole"]
    resources = [aws_iam_role.bake_instance.arn]

    condition {
      test     = "StringEquals"
      variable = "iam:PassedToService"
      values   = ["ec2.amazonaws.com"]
    }
  }

  statement {
    sid       = "ReachInstance"
    actions   = ["ssm:StartSession"]
    resources = ["${local.ec2}:instance/*"]

    condition {
      test     = "StringEquals"
      variable = "ssm:resourceTag/Purpose"
      values   = [local.bake_tags.Purpose]
    }

    # The document is checked too
    # (https://docs.aws.amazon.com/systems-manager/latest/userguide/getting-started-sessiondocumentaccesscheck.html).
    condition {
      test     = "BoolIfExists"
      variable = "ssm:SessionDocumentAccessCheck"
      values   = ["true"]
    }
  }

  statement {
    sid       = "ForwardPort"
    actions   = ["ssm:StartSession"]
    resources = ["${local.arn}:ssm:*::document/AWS-StartPortForwardingSession"]
  }

  statement {
    sid       = "OwnSessions"
    actions   = ["ssm:ResumeSession", "ssm:TerminateSession"]
    resources = ["${local.arn}:ssm:*:${local.account}:session/&{aws:userid}-*"]
  }

  dynamic "statement" {
    for_each = length(var.image_kms_key_arns) == 0 ? [] : ["ImageKeys"]

    content {
      sid       = statement.value
      actions   = ["kms:CreateGrant", "kms:Decrypt", "kms:DescribeKey", "kms:GenerateDataKeyWithoutPlaintext", "kms:ReEncrypt*"]
      resources = var.image_kms_key_arns

      condition {
        test     = "StringLike"
        variable = "kms:ViaService"
        values   = ["ec2.*.amazonaws.com"]
      }
    }
  }
}
