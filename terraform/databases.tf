# Where the users are. Nothing is lost when the service moves from one database to the
# other, in three steps, each an apply:
#   1. database_beside = the new one makes it, empty; the service copies the users with
#      `hello-birthday copy`;
#   2. database and database_beside swap their values, and the instances are replaced;
#   3. no database_beside deletes the old one, which leaves a last backup.

locals {
  databases = toset(compact([var.database, var.database_beside]))
}

module "sqlite" {
  source = "./sqlite"
  count  = contains(local.databases, "sqlite") ? 1 : 0

  name                = local.name
  region              = var.region
  subnet_ids          = { for zone, subnet in aws_subnet.data : zone => subnet.id }
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
  subnet_ids           = [for subnet in aws_subnet.data : subnet.id]
  zones                = [for subnet in aws_subnet.data : subnet.availability_zone]
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
