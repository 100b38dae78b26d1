# The most that any role of a stack may do, such as an instance's: use what stacks are made
# of, and neither make nor change roles. It gives nothing by itself.

resource "aws_iam_policy" "boundary" {
  name        = "hello-birthday-boundary"
  path        = "/terraform/"
  description = "The most that a role of a stack may do"
  policy      = data.aws_iam_policy_document.boundary.json
}

data "aws_iam_policy_document" "boundary" {
  #checkov:skip=CKV_AWS_107: A boundary gives nothing; the roles' own policies name what they may do.
  #checkov:skip=CKV_AWS_108: A boundary gives nothing; the roles' own policies name what they may do.
  #checkov:skip=CKV_AWS_109: A boundary gives nothing; the roles' own policies name what they may do.
  #checkov:skip=CKV_AWS_111: A boundary gives nothing; the roles' own policies name what they may do.
  #checkov:skip=CKV_AWS_356: A boundary gives nothing; the roles' own policies name what they may do.
  statement {
    sid       = "Data"
    resources = ["*"]
    actions = [
      "backup:*",
      "backup-storage:*",
      "cloudwatch:*",
      "ec2:Describe*",
      "ec2messages:*",
      "elasticfilesystem:*",
      "kms:*",
      "logs:*",
      "rds:*",
      "s3:GetObject",
      "secretsmanager:DescribeSecret",
      "secretsmanager:GetSecretValue",
      "sns:Publish",
      "ssm:*",
      "ssmmessages:*",
      "tag:GetResources",
    ]
  }

  statement {
    sid       = "NoState"
    effect    = "Deny"
    actions   = ["s3:*"]
    resources = [aws_s3_bucket.state.arn, "${aws_s3_bucket.state.arn}/*"]
  }
}
