variable "name" {
  type        = string
  description = "Name of the file system."
}

variable "region" {
  type        = string
  description = "AWS region of the file system, for the last backup."
}

variable "subnet_ids" {
  type        = map(string)
  description = "Subnets that the file system is mounted from, one in each zone."
}

variable "security_group_id" {
  type        = string
  description = "Security group of the mount targets."
}

variable "kms_key_arn" {
  type        = string
  description = "Key that the file system is encrypted with."
}

variable "instance_role_arn" {
  type        = string
  description = "Role of the instances, which alone may mount the file system."
}

variable "backup_role_arn" {
  type        = string
  description = "Role that AWS Backup makes the last backup with."
}

variable "deletion_protection" {
  type        = bool
  description = "Whether the file system refuses to be deleted."
}
