output "url" {
  description = "Where the service is."
  value       = local.url
}

output "dashboard" {
  description = "Where to see how it does."
  value       = "https://${var.region}.console.aws.amazon.com/cloudwatch/home?region=${var.region}#dashboards/dashboard/${local.name}"
}

output "roll_command" {
  description = "Rolls the group to the version of this apply, follows a roll that is under way, or says that there is nothing to do."
  value       = local.roll_command
}
