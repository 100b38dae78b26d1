# The image that an environment runs has one home: this parameter. Its history, of which AWS
# keeps 100 versions, is the list of the releases.

# What was released last is what an apply without an image goes on with.
data "aws_ssm_parameter" "image" {
  count = var.ami_id == null ? 1 : 0

  name = local.image_parameter
}

locals {
  image_parameter = "/hello-birthday/${var.environment}/image"
  image           = coalesce(var.ami_id, one(data.aws_ssm_parameter.image[*].insecure_value))
}

# Only once the image runs: after a release that failed it still names the one before.
resource "aws_ssm_parameter" "image" {
  #checkov:skip=CKV2_AWS_34: The id of an image is no secret, and plans show it.
  name           = local.image_parameter
  description    = "The image that ${local.name} runs; its history is the list of the releases"
  type           = "String"
  insecure_value = local.image

  depends_on = [terraform_data.roll]
}
