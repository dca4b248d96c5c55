"""One manifest for each kind, as a person would write it. The reference shows them; a test applies them, in this order."""

from collections.abc import Mapping

EXAMPLES: Mapping[str, str] = {
    "Namespace": """\
apiVersion: v1
kind: Namespace
metadata:
  name: shop
  labels:
    env: prod
""",
    "Scope": """\
apiVersion: auth.nauthera.io/v1alpha1
kind: Scope
metadata:
  name: orders-cancel
spec:
  scope: orders:cancel
  description: Cancel an order that was paid for.
  audiences: ["https://orders.example.com"]   # granted for this resource server only
  risk: destructive                           # and only to who asks for it by name
  maxAccessTokenTTL: 2m
""",
    "ClusterAuthPolicy": """\
apiVersion: auth.nauthera.io/v1alpha1
kind: ClusterAuthPolicy
metadata:
  name: production-ceiling
spec:
  namespaceSelector:
    matchLabels: {env: prod}
  tokenSettings:
    maxAccessTokenTTL: 15m                    # nobody's token lives longer
  credentialRotation:
    required: true
    maxIntervalDays: 30
  claimMappings:
    - {claim: env, value: prod}
""",
    "AuthPolicy": """\
apiVersion: auth.nauthera.io/v1alpha1
kind: AuthPolicy
metadata:
  name: order-services
  namespace: shop
spec:
  selector:
    matchExpressions:
      - {key: tier, operator: In, values: [backend, worker]}
  scopes:
    allowed: ["orders:*", "stock:read"]
    denied: ["orders:export"]                 # deny wins
  tokenSettings:
    defaultAccessTokenTTL: 5m                 # for accounts that name none
  claimMappings:
    - {claim: "https://shop.example.com/team", fieldPath: "metadata.labels['team']"}
""",
    "ServiceAccount": """\
apiVersion: auth.nauthera.io/v1alpha1
kind: ServiceAccount
metadata:
  name: order-worker
  namespace: shop
  labels: {tier: worker, team: orders}
spec:
  displayName: Order worker
  owner: orders@shop.example.com
  purpose: Moves paid orders to the warehouse.
  scopes: ["orders:read", "orders:cancel", "stock:read"]
  defaultScopes: ["orders:read"]
  audiences: ["https://orders.example.com", "https://stock.example.com"]
  tokenSettings:
    accessTokenTTL: 5m
    maxTokensPerMinute: 60
  claims:
    "https://shop.example.com/region": eu
  credentialRotation:
    enabled: true
    intervalDays: 30
    gracePeriodHours: 24
""",
    "KeySet": """\
# Tokens for one resource server with Ed25519 and fresh keys every week. Its first key signs once every verifier knows it.
apiVersion: auth.nauthera.io/v1alpha1
kind: KeySet
metadata:
  name: ledger
spec:
  algorithm: Ed25519
  rotation: {enabled: true, intervalDays: 7}
  audiences: ["https://ledger.example.com"]
""",
}
