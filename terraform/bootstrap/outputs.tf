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

output "plan_role" {
  description = "Role of jobs that plan, with -lock=false."
  value       = aws_iam_role.plan.arn
}

output "apply_roles" {
  description = "Role of jobs that apply, by environment."
  value       = { for environment, role in aws_iam_role.apply : environment => role.arn }
}

output "permissions_boundary" {
  description = "The stacks' variable permissions_boundary: without it, an apply role may make no role."
  value       = aws_iam_policy.boundary.arn
}
