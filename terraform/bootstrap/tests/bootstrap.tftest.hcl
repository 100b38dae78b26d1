# Plans only, because what is made here refuses to be destroyed; 1.11 mocks them.
mock_provider "aws" {
  override_during = plan

  mock_data "aws_iam_policy_document" {
    defaults = { json = "{}" }
  }

  mock_data "aws_caller_identity" {
    defaults = { account_id = "123456789012" }
  }

  mock_data "aws_partition" {
    defaults = { partition = "aws" }
  }

  mock_resource "aws_iam_openid_connect_provider" {
    defaults = { arn = "arn:aws:iam::123456789012:oidc-provider/token.actions.githubusercontent.com" }
  }

  mock_resource "aws_iam_policy" {
    defaults = { arn = "arn:aws:iam::123456789012:policy/terraform/mocked" }
  }

  mock_resource "aws_kms_key" {
    defaults = { arn = "arn:aws:kms:eu-central-1:123456789012:key/mocked" }
  }

  mock_resource "aws_s3_bucket" {
    defaults = { arn = "arn:aws:s3:::mocked" }
  }
}

variables {
  repository = "example/hello-birthday"
}

run "who_plans_may_only_read" {
  command = plan

  assert {
    condition = alltrue([
      for action in flatten([
        for statement in concat(data.aws_iam_policy_document.read.statement, data.aws_iam_policy_document.plan.statement) :
        tolist(statement.actions) if statement.effect != "Deny"
      ]) : action == "kms:Decrypt" || can(regex("^[a-z0-9-]+:(Describe|Get|List)[A-Za-z*]+$", action))
    ])
    error_message = "The plan role may do something that is not reading."
  }

  assert {
    condition = alltrue([
      for statement in concat(data.aws_iam_policy_document.read.statement, data.aws_iam_policy_document.plan.statement) :
      statement.effect == "Deny" || !contains(coalesce(statement.resources, []), "*") || length(setintersection(statement.actions, ["s3:GetObject", "kms:Decrypt", "secretsmanager:GetSecretValue", "ssm:GetParameter"])) == 0
    ])
    error_message = "The plan role may read data wherever it is."
  }

  assert {
    condition     = contains(flatten([for statement in data.aws_iam_policy_document.plan.statement : tolist(statement.actions) if statement.effect == "Deny"]), "secretsmanager:GetSecretValue")
    error_message = "The plan role is not kept from secrets."
  }
}

run "pull_requests_and_branches_may_only_plan" {
  command = plan

  assert {
    condition = toset(flatten([
      for condition in data.aws_iam_policy_document.trust["plan"].statement[0].condition : condition.values if endswith(condition.variable, ":sub")
    ])) == toset(["repo:example/hello-birthday:pull_request", "repo:example/hello-birthday:ref:refs/heads/*"])
    error_message = "The plan role trusts others than the repository's branches and pull requests."
  }

  assert {
    condition = alltrue([
      for environment in var.environments : flatten([
        for condition in data.aws_iam_policy_document.trust["apply-${environment}"].statement[0].condition : condition.values if endswith(condition.variable, ":sub")
      ]) == ["repo:example/hello-birthday:environment:${environment}"]
    ])
    error_message = "An apply role trusts others than the jobs of its GitHub environment."
  }

  assert {
    condition = alltrue([
      for document in data.aws_iam_policy_document.trust :
      contains([for condition in document.statement[0].condition : "${condition.test} ${condition.variable} ${join(" ", condition.values)}"], "StringEquals token.actions.githubusercontent.com:aud sts.amazonaws.com")
    ])
    error_message = "A role takes tokens that were made for others than AWS."
  }
}

run "who_applies_makes_no_role_that_may_do_more" {
  command = plan

  assert {
    condition = alltrue([
      for document in data.aws_iam_policy_document.apply : alltrue([
        for statement in document.statement :
        contains([for condition in statement.condition : condition.variable], "iam:PermissionsBoundary")
        if statement.effect != "Deny" && length(setintersection(statement.actions, ["iam:CreateRole", "iam:PutRolePolicy", "iam:AttachRolePolicy", "iam:PutRolePermissionsBoundary"])) > 0
      ])
    ])
    error_message = "An apply role may make a role without the boundary."
  }

  assert {
    condition = alltrue([
      for statement in data.aws_iam_policy_document.boundary.statement :
      statement.effect == "Deny" || alltrue([for action in statement.actions : can(regex("^[a-z0-9-]+:", action)) && !can(regex("^(iam|sts|organizations|account):", action))])
    ])
    error_message = "The boundary lets a role make roles, or become others."
  }

  assert {
    condition = length(flatten([
      for document in concat([data.aws_iam_policy_document.change], values(data.aws_iam_policy_document.apply)) : [
        for statement in document.statement : [
          for action in statement.actions : action if action == "*" || can(regex("^(iam|s3|kms|sts):\\*", action))
        ] if statement.effect != "Deny"
      ]
    ])) == 0
    error_message = "An apply role may do anything."
  }

  assert {
    condition = alltrue([
      for document in data.aws_iam_policy_document.apply : alltrue([
        for statement in document.statement : contains([for condition in statement.condition : condition.variable], "iam:PassedToService")
        if contains(statement.actions, "iam:PassRole")
      ])
    ])
    error_message = "An apply role may hand roles to any service."
  }
}

run "who_applies_touches_its_own_stack_only" {
  command = plan

  assert {
    condition = alltrue([
      for environment, document in data.aws_iam_policy_document.apply : alltrue([
        for resource in flatten([for statement in document.statement : tolist(coalesce(statement.resources, []))]) :
        alltrue([for other in var.environments : other == environment || !strcontains(resource, other)])
      ])
    ])
    error_message = "An apply role names another stack's things."
  }

  assert {
    condition = alltrue([
      for environment, document in data.aws_iam_policy_document.apply : anytrue([
        for statement in document.statement : statement.effect == "Deny" && contains(statement.actions, "*") && anytrue([
          for condition in statement.condition : condition.test == "StringNotEquals" && condition.variable == "aws:ResourceTag/Environment" && condition.values == tolist([environment])
        ])
      ])
    ])
    error_message = "What carries another environment's tag is not kept from an apply role."
  }

  # Stacks' roles are in no folder; the roles here are.
  assert {
    condition     = alltrue([for role in concat([aws_iam_role.plan], values(aws_iam_role.apply)) : role.path == "/terraform/"])
    error_message = "A role for GitHub could be changed by a role for GitHub."
  }
}

run "states_are_kept_well" {
  command = plan

  assert {
    condition     = aws_s3_bucket_versioning.state.versioning_configuration[0].status == "Enabled"
    error_message = "A state that was spoiled could not be brought back."
  }

  assert {
    condition     = aws_s3_bucket_public_access_block.state.block_public_acls && aws_s3_bucket_public_access_block.state.block_public_policy && aws_s3_bucket_public_access_block.state.ignore_public_acls && aws_s3_bucket_public_access_block.state.restrict_public_buckets
    error_message = "States could be made public."
  }

  assert {
    condition     = anytrue([for statement in data.aws_iam_policy_document.state.statement : statement.effect == "Deny" && anytrue([for condition in statement.condition : condition.variable == "aws:SecureTransport" && condition.values == tolist(["false"])])])
    error_message = "States could travel without TLS."
  }
}

run "a_repository_with_ids_is_taken" {
  command = plan

  variables {
    repository = "example@123456/hello-birthday@456789"
  }

  assert {
    condition     = local.subjects["plan"][0] == "pull_request"
    error_message = "The roles know no pull requests."
  }
}

run "a_wildcard_repository_is_refused" {
  command = plan

  variables {
    repository = "example/*"
  }

  expect_failures = [var.repository]
}

run "a_repository_without_owner_is_refused" {
  command = plan

  variables {
    repository = "hello-birthday"
  }

  expect_failures = [var.repository]
}

run "environments_that_begin_alike_are_refused" {
  command = plan

  variables {
    environments = ["prod", "prod-eu"]
  }

  expect_failures = [var.environments]
}

run "a_bucket_that_a_stack_could_change_is_refused" {
  command = plan

  variables {
    state_bucket = "hello-birthday-production-state"
  }

  expect_failures = [var.state_bucket]
}
