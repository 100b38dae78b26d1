output "cluster_identifier" {
  value       = aws_rds_cluster.this.cluster_identifier
  description = "Identifier of the cluster."
}

output "cluster_arn" {
  value       = aws_rds_cluster.this.arn
  description = "ARN of the cluster."
}

output "cluster_resource_id" {
  value       = aws_rds_cluster.this.cluster_resource_id
  description = "Immutable identifier of the cluster, which rds-db:connect names."
}

# Nothing connects before the roles exist.
output "host" {
  value       = aws_rds_cluster.this.endpoint
  description = "Host of the writer endpoint, which follows a failover."

  depends_on = [terraform_data.roles]
}

output "reader_host" {
  value       = aws_rds_cluster.this.reader_endpoint
  description = "Host of the reader endpoint, which is the writer while there is no reader."

  depends_on = [terraform_data.roles, aws_rds_cluster_instance.this]
}

output "port" {
  value       = aws_rds_cluster.this.port
  description = "Port of both endpoints."
}

output "database" {
  value       = aws_rds_cluster.this.database_name
  description = "Name of the service's database."
}

output "master_secret_arn" {
  value       = aws_rds_cluster.this.master_user_secret[0].secret_arn
  description = "ARN of the secret with the master user's password."
}
