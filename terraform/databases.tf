# The databases. The service moves from one to the other in three steps, each an apply,
# without losing a user:
#   1. database_beside = the new one makes it, empty; `hello-birthday copy` on an instance
#      copies the users;
#   2. database and database_beside swap their values, which replaces the instances;
#   3. database_beside = null deletes the old one, which leaves a last backup.

locals {
  databases = toset(compact([var.database, var.database_beside]))
}

module "sqlite" {
  source = "./sqlite"
  count  = contains(local.databases, "sqlite") ? 1 : 0

  name                = local.name
  region              = var.region
  subnet_ids          = local.data_subnets
  security_group_id   = aws_security_group.database.id
  kms_key_arn         = aws_kms_key.this.arn
  instance_role_arn   = aws_iam_role.instance.arn
  backup_role_arn     = aws_iam_role.backup.arn
  deletion_protection = var.deletion_protection

  # The last backup is made before the role may no longer make it.
  depends_on = [aws_iam_role_policy_attachment.backup]
}

module "postgres" {
  source = "./postgres"
  count  = contains(local.databases, "postgres") ? 1 : 0

  name                 = local.name
  region               = var.region
  subnet_ids           = values(local.data_subnets)
  security_group_id    = aws_security_group.database.id
  kms_key_arn          = aws_kms_key.this.arn
  log_retention_days   = var.log_retention_days
  deletion_protection  = var.deletion_protection
  permissions_boundary = var.permissions_boundary

  min_capacity                = var.postgres.min_capacity
  max_capacity                = var.postgres.max_capacity
  readers                     = var.postgres.readers
  major_version               = var.postgres.major_version
  allow_major_version_upgrade = var.postgres.allow_major_version_upgrade
  apply_immediately           = var.postgres.apply_immediately
}
