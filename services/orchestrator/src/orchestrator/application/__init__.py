"""Everything the orchestrator does, on one screen.

From outside      apply_customer        a customer's configuration
                  receive_hr_events     HR facts: site, profile, a plan starts or is refused
                  preview_plan          what an HR event would do
                  retry_plan, cancel_plan
                  check_tenant          read a tenant now
                  free_number           offer a number again that was set aside
From messages     take_replies          adapters' replies move plans on
                  TakeTenantReplies     what a tenant holds
                  take_credential_news  a tenant's certificate works, or not
By themselves     fire_timers           polls, retries, silence, effective dates
                  observe_tenants       tenants whose turn it is to be read
                  start_waiting_people  people whose tenant became ready
For the engine    BuildPlans            plan people, reserve seats, numbers and names
(by the rules)    SettlePlans           make reservations final or give them back
                  ResolveLocal          is the awaited person there?
                  PreviewPerson         take an event in, as if
For the rules     EnginePlans           start plans, withdraw those that have not begun
(by the engine)
To look at        show_person, show_plan, show_operations, list_plans

`Rules` and `PlanEngine` are what the use cases of the two halves are given.
"""

from orchestrator.application.apply_customer import Applied, FaultyConfiguration, apply_customer
from orchestrator.application.build_plans import BuildPlans
from orchestrator.application.cancel_plan import cancel_plan
from orchestrator.application.check_tenant import check_tenant
from orchestrator.application.engine_plans import EnginePlans
from orchestrator.application.fire_timers import fire_timers
from orchestrator.application.free_number import free_number
from orchestrator.application.list_plans import list_plans
from orchestrator.application.observe_tenants import observe_tenants
from orchestrator.application.plan_engine import PlanEngine
from orchestrator.application.preview_person import PreviewPerson
from orchestrator.application.preview_plan import preview_plan
from orchestrator.application.receive_hr_events import Reception, customer_unknown, known_customers, receive_hr_events
from orchestrator.application.resolve_local import ResolveLocal
from orchestrator.application.retry_plan import retry_plan
from orchestrator.application.rules import Rules
from orchestrator.application.settle_plans import SettlePlans
from orchestrator.application.show_person import PersonShown, show_person
from orchestrator.application.show_plan import show_operations, show_plan
from orchestrator.application.start_waiting_people import start_waiting_people
from orchestrator.application.take_credential_news import take_credential_news
from orchestrator.application.take_replies import take_replies
from orchestrator.application.take_tenant_replies import TakeTenantReplies

__all__ = [
    "Applied",
    "BuildPlans",
    "EnginePlans",
    "FaultyConfiguration",
    "PersonShown",
    "PlanEngine",
    "PreviewPerson",
    "Reception",
    "ResolveLocal",
    "Rules",
    "SettlePlans",
    "TakeTenantReplies",
    "apply_customer",
    "cancel_plan",
    "check_tenant",
    "customer_unknown",
    "fire_timers",
    "free_number",
    "known_customers",
    "list_plans",
    "observe_tenants",
    "preview_plan",
    "receive_hr_events",
    "retry_plan",
    "show_operations",
    "show_person",
    "show_plan",
    "start_waiting_people",
    "take_credential_news",
    "take_replies",
]
