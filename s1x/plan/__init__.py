"""What a run will need, worked out before anything starts: `stages=[plan]`.

from s1x.plan import Machine, Work, make_plan
plan = make_plan(train, model, Work(num_samples=1000, mean_tokens=5600), machine=Machine.here())
print("\\n".join(plan.table())); plan.refuse()
"""

from s1x.plan.generation import Deployment as Deployment
from s1x.plan.generation import Evaluation as Evaluation
from s1x.plan.machine import Machine as Machine
from s1x.plan.make import Plan as Plan
from s1x.plan.make import Work as Work
from s1x.plan.make import make_plan as make_plan
from s1x.plan.stage import check_samples as check_samples
from s1x.plan.stage import plan_run as plan_run
