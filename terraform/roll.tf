# A new version of the launch template replaces the instances.
#
# The group's own instance_refresh block is not used: with it, Terraform saves the new
# version on the group first, so that AWS rolls "back" to the new one
# (github.com/hashicorp/terraform-provider-aws/issues/34189), and neither waits for the
# outcome nor fails with it (…/issues/42355).

locals {
  roll = join(" ", [
    "${path.module}/roll",
    "--region ${var.region}",
    "--group ${aws_autoscaling_group.this.name}",
    "--template ${aws_launch_template.this.id}",
    "--version ${aws_launch_template.this.latest_version}",
    "--alarms '%s'",
    "--max-healthy-percent ${var.roll.max_healthy_percent}",
    "--warmup-seconds ${var.roll.warmup_seconds}",
    "--bake-seconds ${var.roll.bake_seconds}",
    "--timeout-seconds ${var.roll.timeout_seconds}",
  ])
  roll_command = format(local.roll, var.roll.alarms ? join(",", local.roll_alarms) : "")
  # No output: it would be a change in the next plan.
  roll_command_now = var.rollback ? format(local.roll, "") : local.roll_command
}

# A roll that fails taints this, so that the next apply tries again.
resource "terraform_data" "roll" {
  triggers_replace = [aws_launch_template.this.latest_version]

  provisioner "local-exec" {
    command = local.roll_command_now
  }

  depends_on = [
    aws_autoscaling_policy.requests,
    aws_cloudwatch_metric_alarm.http_5xx,
    aws_cloudwatch_metric_alarm.p99,
    aws_cloudwatch_metric_alarm.unhealthy,
  ]
}
