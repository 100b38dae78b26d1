# What removing old images needs: to see what still uses one, and to delete images and
# snapshots of the service. Those carry its tag, and nothing of a stack's.

resource "aws_iam_role_policy" "retire" {
  name   = "retire"
  role   = aws_iam_role.retire.name
  policy = data.aws_iam_policy_document.retire.json
}

data "aws_iam_policy_document" "retire" {
  #checkov:skip=CKV_AWS_356: What is listed and described has no resource to name.
  statement {
    sid       = "Look"
    resources = ["*"]
    actions = [
      "ec2:DescribeImageAttribute",
      "ec2:DescribeImages",
      "ec2:DescribeInstances",
      "ec2:DescribeLaunchTemplateVersions",
      "ec2:DescribeLaunchTemplates",
      "ec2:DescribeSnapshots",
      "ssm:DescribeParameters",
    ]
  }

  statement {
    sid       = "Releases"
    actions   = ["ssm:GetParameterHistory"]
    resources = local.image_parameters
  }

  statement {
    sid       = "Retire"
    actions   = ["ec2:DeleteSnapshot", "ec2:DeregisterImage"]
    resources = [for kind in ["image", "snapshot"] : "${local.arn}:ec2:*::${kind}/*"]

    condition {
      test     = "StringEquals"
      variable = "aws:ResourceTag/Service"
      values   = ["hello-birthday"]
    }

    condition {
      test     = "Null"
      variable = "aws:ResourceTag/Environment"
      values   = ["true"]
    }
  }
}
