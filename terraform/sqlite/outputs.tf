# What uses the file system depends on its last backup, and is destroyed before that is made.

output "file_system_id" {
  value       = aws_efs_file_system.this.id
  description = "Id of the file system."
  depends_on  = [terraform_data.last_backup]
}

output "file_system_arn" {
  value       = aws_efs_file_system.this.arn
  description = "ARN of the file system."
}

output "access_point_id" {
  value       = aws_efs_access_point.this.id
  description = "Id of the access point that the service's data is mounted through."
  depends_on  = [terraform_data.last_backup]
}

output "access_point_arn" {
  value       = aws_efs_access_point.this.arn
  description = "ARN of the access point that the service's data is mounted through."
}

output "restored_access_point_arn" {
  value       = aws_efs_access_point.restored.arn
  description = "ARN of the access point that restored files are read through."
}
