# A destroy is refused before it has begun. The balancer and the databases refuse as well,
# but they would come last, when the instances are gone.
resource "terraform_data" "protection" {
  input = var.deletion_protection

  provisioner "local-exec" {
    when    = destroy
    command = self.input ? "echo 'this stack is protected: apply deletion_protection = false first' >&2; exit 1" : "true"
  }

  # What depends on others is deleted before them.
  depends_on = [
    aws_autoscaling_policy.requests,
    aws_lb_listener.http,
    aws_lb_listener.https,
    aws_route53_record.this,
    aws_wafv2_web_acl_association.this,
    terraform_data.roll,
  ]
}
