# A destroy is refused before it has begun. The balancer and the databases refuse as well,
# but they would come last, when the instances are gone.
resource "terraform_data" "protection" {
  input = var.deletion_protection

  provisioner "local-exec" {
    when    = destroy
    command = self.input ? "echo 'this stack is protected: apply deletion_protection = false first' >&2; exit 1" : "true"
  }

  # What depends on all others is deleted before them. These are what nothing else
  # depends on.
  depends_on = [
    aws_autoscaling_policy.requests,
    aws_backup_selection.this,
    aws_backup_vault_lock_configuration.recovery,
    aws_cloudwatch_dashboard.this,
    aws_cloudwatch_event_target.backup_failed,
    aws_cloudwatch_event_target.roll,
    aws_default_security_group.this,
    aws_flow_log.this,
    aws_iam_role_policy.flow_logs,
    aws_kms_alias.recovery,
    aws_kms_alias.this,
    aws_lb_listener.http,
    aws_lb_listener.https,
    aws_route53_record.this,
    aws_route_table_association.data,
    aws_route_table_association.private,
    aws_route_table_association.public,
    aws_s3_bucket_lifecycle_configuration.access_logs,
    aws_s3_bucket_ownership_controls.access_logs,
    aws_s3_bucket_public_access_block.access_logs,
    aws_s3_bucket_server_side_encryption_configuration.access_logs,
    aws_sns_topic_policy.alarms,
    aws_sns_topic_subscription.alarms,
    aws_vpc_security_group_egress_rule.load_balancer,
    aws_vpc_security_group_egress_rule.sign_in,
    aws_vpc_security_group_ingress_rule.clients,
    aws_wafv2_web_acl_association.this,
    terraform_data.roll,
  ]
}
