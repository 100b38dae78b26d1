# Optional: people sign in before they reach the service. The pool's administrator invites them;
# they sign in with a password and a code from an authenticator app.

resource "aws_cognito_user_pool" "this" {
  count = var.sign_in ? 1 : 0

  name                = local.name
  deletion_protection = var.deletion_protection ? "ACTIVE" : "INACTIVE"

  username_attributes      = ["email"]
  auto_verified_attributes = ["email"]
  mfa_configuration        = "ON"

  admin_create_user_config {
    allow_admin_create_user_only = true
  }

  password_policy {
    minimum_length                   = 14
    require_lowercase                = true
    require_uppercase                = true
    require_numbers                  = true
    require_symbols                  = true
    temporary_password_validity_days = 3
  }

  software_token_mfa_configuration {
    enabled = true
  }

  account_recovery_setting {
    recovery_mechanism {
      name     = "verified_email"
      priority = 1
    }
  }
}

resource "aws_cognito_user_pool_client" "this" {
  count = var.sign_in ? 1 : 0

  name         = local.name
  user_pool_id = aws_cognito_user_pool.this[0].id

  # The load balancer is the client, and continues there after the sign-in.
  generate_secret                      = true
  callback_urls                        = ["https://${var.domain}/oauth2/idpresponse"]
  allowed_oauth_flows_user_pool_client = true
  allowed_oauth_flows                  = ["code"]
  allowed_oauth_scopes                 = ["openid"]
  supported_identity_providers         = ["COGNITO"]
  prevent_user_existence_errors        = "ENABLED"
}

resource "aws_cognito_user_pool_domain" "this" {
  count = var.sign_in ? 1 : 0

  user_pool_id = aws_cognito_user_pool.this[0].id
  # Unique among everybody's in the region.
  domain = "${local.name}-${local.account_id}"
}
