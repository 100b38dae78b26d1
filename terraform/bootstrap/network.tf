# What an apply changes in EC2, whose ARNs hold no names: by tag alone. What is made carries
# the tag from its creation on, and what it is made in, such as a VPC, has to carry it too.

locals {
  # Actions that make something, which tag it in the same request.
  creations = [
    "AllocateAddress",
    "AuthorizeSecurityGroupEgress",
    "AuthorizeSecurityGroupIngress",
    "CreateFlowLogs",
    "CreateInternetGateway",
    "CreateLaunchTemplate",
    "CreateNatGateway",
    "CreateRouteTable",
    "CreateSecurityGroup",
    "CreateSubnet",
    "CreateVpc",
    "CreateVpcEndpoint",
    "RunInstances",
  ]
}

data "aws_iam_policy_document" "network" {
  for_each = local.stacks

  # Each of these statements names only what its actions make: a tag in the request says
  # nothing of what is there already.
  statement {
    sid       = "Make"
    resources = [for kind in ["elastic-ip", "internet-gateway", "launch-template", "route-table", "security-group", "subnet"] : "${local.ec2}:${kind}/*"]
    actions = [
      "ec2:AllocateAddress",
      "ec2:CreateInternetGateway",
      "ec2:CreateLaunchTemplate",
      "ec2:CreateRouteTable",
      "ec2:CreateSecurityGroup",
      "ec2:CreateSubnet",
    ]

    condition {
      test     = "StringEquals"
      variable = "aws:RequestTag/Environment"
      values   = [each.key]
    }
  }

  statement {
    sid       = "MakeNetworks"
    actions   = ["ec2:CreateVpc"]
    resources = ["${local.ec2}:vpc/*"]

    condition {
      test     = "StringEquals"
      variable = "aws:RequestTag/Environment"
      values   = [each.key]
    }
  }

  statement {
    sid       = "MakeParts"
    resources = [for kind in ["instance", "natgateway", "network-interface", "security-group-rule", "volume", "vpc-endpoint", "vpc-flow-log"] : "${local.ec2}:${kind}/*"]
    actions = [
      "ec2:AuthorizeSecurityGroupEgress",
      "ec2:AuthorizeSecurityGroupIngress",
      "ec2:CreateFlowLogs",
      "ec2:CreateNatGateway",
      "ec2:CreateVpcEndpoint",
      # The group's own template: Auto Scaling tries it in the name of its caller.
      "ec2:RunInstances",
    ]

    condition {
      test     = "StringEquals"
      variable = "aws:RequestTag/Environment"
      values   = [each.key]
    }
  }

  statement {
    sid       = "RunImages"
    actions   = ["ec2:RunInstances"]
    resources = [for kind in ["image", "snapshot"] : "${local.arn}:ec2:*::${kind}/*"]
  }

  statement {
    sid       = "ChangeOwn"
    resources = ["${local.ec2}:*"]
    actions = [
      "ec2:AssociateAddress",
      "ec2:AssociateRouteTable",
      "ec2:AttachInternetGateway",
      "ec2:AuthorizeSecurityGroup*",
      "ec2:CreateFlowLogs",
      "ec2:CreateLaunchTemplateVersion",
      "ec2:CreateNatGateway",
      "ec2:CreateNetworkInterface",
      "ec2:CreateRoute*",
      "ec2:CreateSecurityGroup",
      "ec2:CreateSubnet",
      "ec2:CreateVpcEndpoint",
      "ec2:DeleteFlowLogs",
      "ec2:DeleteInternetGateway",
      "ec2:DeleteLaunchTemplate*",
      "ec2:DeleteNatGateway",
      "ec2:DeleteRoute*",
      "ec2:DeleteSecurityGroup",
      "ec2:DeleteSubnet",
      "ec2:DeleteVpc",
      "ec2:DeleteVpcEndpoints",
      "ec2:DetachInternetGateway",
      "ec2:DisassociateAddress",
      "ec2:DisassociateRouteTable",
      "ec2:ModifyLaunchTemplate",
      "ec2:ModifySecurityGroupRules",
      "ec2:ModifySubnetAttribute",
      "ec2:ModifyVpcAttribute",
      "ec2:ModifyVpcEndpoint",
      "ec2:ReleaseAddress",
      "ec2:ReplaceRoute*",
      "ec2:RevokeSecurityGroup*",
      "ec2:RunInstances",
      "ec2:UpdateSecurityGroupRuleDescriptions*",
    ]

    condition {
      test     = "StringEquals"
      variable = "aws:ResourceTag/Environment"
      values   = [each.key]
    }
  }

  # EFS makes and deletes the network interfaces of mount targets, which carry no tag. Its
  # service-linked role has these permissions too; the API reference still asks the caller
  # for them (https://docs.aws.amazon.com/efs/latest/ug/API_CreateMountTarget.html).
  statement {
    sid       = "MountTargets"
    actions   = ["ec2:CreateNetworkInterface", "ec2:DeleteNetworkInterface"]
    resources = ["${local.ec2}:network-interface/*"]

    condition {
      test     = "Bool"
      variable = "aws:ViaAWSService"
      values   = ["true"]
    }
  }

  statement {
    sid       = "TagNew"
    actions   = ["ec2:CreateTags"]
    resources = ["${local.ec2}:*"]

    condition {
      test     = "StringEquals"
      variable = "ec2:CreateAction"
      values   = local.creations
    }

    condition {
      test     = "StringEquals"
      variable = "aws:RequestTag/Environment"
      values   = [each.key]
    }
  }

  statement {
    sid       = "TagOwn"
    actions   = ["ec2:CreateTags"]
    resources = ["${local.ec2}:*"]

    condition {
      test     = "StringEquals"
      variable = "aws:ResourceTag/Environment"
      values   = [each.key]
    }

    condition {
      test     = "StringEqualsIfExists"
      variable = "aws:RequestTag/Environment"
      values   = [each.key]
    }
  }

  statement {
    sid       = "UntagOwn"
    actions   = ["ec2:DeleteTags"]
    resources = ["${local.ec2}:*"]

    condition {
      test     = "StringEquals"
      variable = "aws:ResourceTag/Environment"
      values   = [each.key]
    }

    condition {
      test     = "ForAllValues:StringNotEquals"
      variable = "aws:TagKeys"
      values   = ["Environment"]
    }
  }

  # The private DNS name of an endpoint is in a zone of AWS's
  # (https://docs.aws.amazon.com/service-authorization/latest/reference/list_amazonec2.html).
  statement {
    sid       = "EndpointNames"
    actions   = ["route53:AssociateVPCWithHostedZone"]
    resources = ["${local.arn}:route53:::hostedzone/*"]

    condition {
      test     = "StringNotEquals"
      variable = "aws:ResourceAccount"
      values   = [local.account]
    }
  }
}
