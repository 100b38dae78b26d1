output "migrate" {
  description = "Command that moves this state, too, from its local file into the bucket."
  value       = "terraform output -raw backend >backend.tf && terraform init -migrate-state"
}

output "backend" {
  description = "Where this state is kept then; commit it."
  value       = <<-EOT
    terraform {
      backend "s3" {
        bucket       = "${aws_s3_bucket.state.id}"
        key          = "bootstrap.tfstate"
        region       = "${var.region}"
        kms_key_id   = "${aws_kms_key.state.arn}"
        encrypt      = true
        use_lockfile = true
      }
    }
  EOT
}

output "init" {
  description = "For each environment, the command that begins work on its stack, in the folder above."
  value = { for environment, key in local.state_keys : environment => join(" ", [
    "terraform init -reconfigure",
    "-backend-config=bucket=${aws_s3_bucket.state.id}",
    "-backend-config=key=${key}",
    "-backend-config=region=${var.region}",
    "-backend-config=kms_key_id=${aws_kms_key.state.arn}",
  ]) }
}

output "backends" {
  description = "For each environment, the file environments/ENVIRONMENT.tfbackend, by which deploy finds the state; commit it."
  value = { for environment, key in local.state_keys : environment => <<-EOT
    bucket     = "${aws_s3_bucket.state.id}"
    key        = "${key}"
    region     = "${var.region}"
    kms_key_id = "${aws_kms_key.state.arn}"
  EOT
  }
}

output "protect" {
  description = "What has to be set up at GitHub before its workflows use these roles."
  value       = <<-EOT
    The role of an environment trusts every job that GitHub lets into the environment of
    that name, and GitHub makes an environment that does not exist at its first use, without
    rules. Under Settings, Environments
    (https://docs.github.com/actions/how-tos/deploy/configure-and-manage-deployments/manage-environments):
      - ${join(", ", sort(var.environments))}: deployment branches, ${var.branch} alone;
      - approval, which no role trusts: required reviewers, for releases outside of the window.
    Whoever can push to ${var.branch} can bake images: it needs a rule that requires review.
  EOT
}

output "plan_role" {
  description = "ARN of the role of jobs that plan, with -lock=false."
  value       = aws_iam_role.plan.arn
}

output "apply_roles" {
  description = "For each environment, the inputs of aws-actions/configure-aws-credentials in a job that applies; its default of an hour ends before a roll may."
  value = { for environment, role in aws_iam_role.apply : environment => {
    role-to-assume        = role.arn
    role-duration-seconds = local.apply_seconds
  } }
}

output "permissions_boundaries" {
  description = "For each environment, the stack's variable permissions_boundary: without it the apply role makes no role."
  value       = { for environment, policy in aws_iam_policy.boundary : environment => policy.arn }
}

output "bake_role" {
  description = "For jobs that bake images, the inputs of aws-actions/configure-aws-credentials."
  value = {
    role-to-assume        = aws_iam_role.bake.arn
    role-duration-seconds = aws_iam_role.bake.max_session_duration
  }
}

output "retire_role" {
  description = "ARN of the role of jobs that remove old images."
  value       = aws_iam_role.retire.arn
}

output "bake_instance_profile" {
  description = "Packer's iam_instance_profile."
  value       = aws_iam_instance_profile.bake.name
}

output "bake_run_tags" {
  description = "Tags that Packer's run_tags must hold: the bake role reaches and changes nothing else."
  value       = local.bake_tags
}
