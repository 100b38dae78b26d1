output "url" {
  description = "URL of the service."
  value       = local.url
}

output "dashboard_url" {
  description = "URL of the CloudWatch dashboard."
  value       = "https://${var.region}.console.aws.amazon.com/cloudwatch/home?region=${var.region}#dashboards/dashboard/${local.name}"
}

output "roll_command" {
  description = "Command that rolls the group to the version of this apply, follows a roll under way, or says that there is nothing to do."
  value       = local.roll_command
}

output "group_name" {
  description = "Name of the Auto Scaling group."
  value       = aws_autoscaling_group.this.name
}

output "launch_template" {
  description = "Launch template of the instances: its id and the version of this apply."
  value       = { id = aws_launch_template.this.id, version = aws_launch_template.this.latest_version }
}

output "running" {
  description = "Version of the launch template that the group runs, and its image; after a failed roll, not the version of this apply, and null for the image."
  value = {
    version = local.running_version
    ami_id  = local.running_version == tostring(aws_launch_template.this.latest_version) ? local.image : null
  }
}

output "load_balancer" {
  description = "Load balancer: its ARN, and DNS name and zone for records made elsewhere."
  value       = { arn = aws_lb.this.arn, dns_name = aws_lb.this.dns_name, zone_id = aws_lb.this.zone_id }
}

output "target_group_arn" {
  description = "ARN of the load balancer's target group."
  value       = aws_lb_target_group.this.arn
}

output "network" {
  description = "Ids of the VPC, its subnets and the instances' security group."
  value = {
    vpc_id             = local.vpc_id
    public_subnet_ids  = local.public_subnet_ids
    private_subnet_ids = local.private_subnet_ids
    data_subnet_ids    = values(local.data_subnets)
    service_group_id   = aws_security_group.service.id
  }
}

output "topic_arns" {
  description = "ARNs of the topics of urgent and of routine alarms."
  value       = { for name, topic in aws_sns_topic.alarms : name => topic.arn }
}

output "log_groups" {
  description = "Names of the log groups of the service and of its metrics."
  value       = { service = aws_cloudwatch_log_group.service.name, metrics = aws_cloudwatch_log_group.metrics.name }
}

output "backup_vault" {
  description = "Name of the backup vault, in both regions."
  value       = aws_backup_vault.this.name
}
