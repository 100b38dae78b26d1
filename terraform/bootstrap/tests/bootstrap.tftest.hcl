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

run "roles_for_github_are_no_stacks_by_their_names" {
  command = plan

  # The apply roles change roles of no folder.
  assert {
    condition     = alltrue([for role in concat([aws_iam_role.plan, aws_iam_role.bake, aws_iam_role.bake_instance, aws_iam_role.retire], values(aws_iam_role.apply)) : role.path == "/terraform/"])
    error_message = "A role for GitHub could be changed by a role for GitHub."
  }
}

run "credentials_outlive_a_roll" {
  command = plan

  assert {
    condition = alltrue([
      for environment, role in aws_iam_role.apply :
      output.apply_roles[environment].role-duration-seconds == 10800 && role.max_session_duration >= 10800
    ])
    error_message = "A job that waits for a roll and its rollback loses its credentials."
  }
}

run "what_must_be_protected_is_said" {
  command = plan

  variables {
    environments = ["staging", "production", "demo"]
    branch       = "trunk"
  }

  assert {
    condition     = alltrue([for name in ["staging", "production", "demo", "trunk", "reviewers"] : strcontains(output.protect, name)])
    error_message = "An environment of GitHub, or the branch of images, is left out."
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

run "environments_with_a_taken_name_are_refused" {
  command = plan

  variables {
    environments = ["production", "bake"]
  }

  expect_failures = [var.environments]
}

run "zones_of_no_environment_are_refused" {
  command = plan

  variables {
    hosted_zones = { demo = ["Z0123456789ABCDEFGHIJ"] }
  }

  expect_failures = [var.hosted_zones]
}

run "zones_that_two_environments_share_are_refused" {
  command = plan

  variables {
    hosted_zones = { staging = ["Z0123456789ABCDEFGHIJ"], production = ["Z0123456789ABCDEFGHIJ"] }
  }

  expect_failures = [var.hosted_zones]
}

run "zones_by_pattern_are_refused" {
  command = plan

  variables {
    hosted_zones = { staging = ["*"] }
  }

  expect_failures = [var.hosted_zones]
}

run "branches_by_pattern_are_refused" {
  command = plan

  variables {
    branch = "*"
  }

  expect_failures = [var.branch]
}

run "keys_by_pattern_are_refused" {
  command = plan

  variables {
    image_kms_key_arns = ["arn:aws:kms:eu-central-1:123456789012:key/*"]
  }

  expect_failures = [var.image_kms_key_arns]
}
