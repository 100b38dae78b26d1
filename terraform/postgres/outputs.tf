output "identifier" {
  value       = aws_db_instance.this.identifier
  description = "Name of the instance."
}

output "arn" {
  value       = aws_db_instance.this.arn
  description = "ARN of the instance."
}

output "host" {
  value       = aws_db_instance.this.address
  description = "Host of the instance; after a failover it leads to the former standby."
}

output "port" {
  value       = aws_db_instance.this.port
  description = "Port of the instance and of its replica."
}

output "database" {
  value       = aws_db_instance.this.db_name
  description = "Name of the database in it."
}

output "secret_arn" {
  value       = var.read_replica ? aws_secretsmanager_secret_version.this[0].arn : aws_db_instance.this.master_user_secret[0].secret_arn
  description = "ARN of the secret that the user and the password are in."
}

output "replica_host" {
  value       = one(aws_db_instance.replica[*].address)
  description = "Host of the replica; null for none."
}

output "replica_identifier" {
  value       = one(aws_db_instance.replica[*].identifier)
  description = "Name of the replica; null for none."
}
