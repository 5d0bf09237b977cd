//! `kubectl create …`, `run`, `expose`, `autoscale`: what kubectl writes for its users (`test/cmd/create.sh`, `core.sh`, `run.sh`).

use crate::Session;

#[test]
fn generators() {
    let mut s = Session::new();
    let folder = s.file("config/one.conf", "a=1\n");
    let folder = folder.trim_end_matches("one.conf").to_owned();
    let env = s.file("some.env", "# comment\nUSER=me\nEMPTY=\n");
    for (line, says) in [
        ("create ns apart", "namespace/apart created"),
        ("create sa robot", "serviceaccount/robot created"),
        ("create cm literal --from-literal=a=b --from-literal=c='d e'", "configmap/literal created"),
        (&format!("create cm folder --from-file={folder}"), "configmap/folder created"),
        (&format!("create cm env --from-env-file={env} --append-hash"), "configmap/env-"),
        ("create secret generic plain --from-literal=k=v --type=example.com/kind", "secret/plain created"),
        (
            "create secret docker-registry pull --docker-username=u --docker-password=p --docker-email=e@x",
            "secret/pull created",
        ),
        (
            "create deployment web --image=nginx --image=busybox --replicas=2 --port=80",
            "deployment.apps/web created",
        ),
        ("create job once --image=busybox -- date", "job.batch/once created"),
        (
            "create cronjob tick --image=busybox --schedule='*/1 * * * *' -- date",
            "cronjob.batch/tick created",
        ),
        ("create job from --from=cronjob/tick", "job.batch/from created"),
        ("create quota q --hard=pods=500,services=300 --scopes=BestEffort", "resourcequota/q created"),
        ("create pdb p --selector=app=web --min-available=1", "poddisruptionbudget.policy/p created"),
        ("create pdb h --selector=app=web --max-unavailable=50%", "poddisruptionbudget.policy/h created"),
        (
            "create priorityclass high --value=1000 --preemption-policy=Never",
            "priorityclass.scheduling.k8s.io/high created",
        ),
        (
            "create role reader --verb=get,list --resource=pods,deployments.apps --resource-name=x",
            "reader created",
        ),
        (
            "create clusterrole all --verb=* --non-resource-url=/logs/*",
            "clusterrole.rbac.authorization.k8s.io/all created",
        ),
        (
            "create clusterrole sum --aggregation-rule=sum=yes",
            "clusterrole.rbac.authorization.k8s.io/sum created",
        ),
        (
            "create rolebinding rb --role=reader --user=u --group=g --serviceaccount=default:robot",
            "rb created",
        ),
        ("create clusterrolebinding crb --clusterrole=view --serviceaccount=default:robot", "crb created"),
        ("create service clusterip c --tcp=80:8080 --tcp=443", "service/c created"),
        ("create service clusterip headless --clusterip=None", "service/headless created"),
        ("create service nodeport n --tcp=80 --node-port=30080", "service/n created"),
        ("create service loadbalancer l --tcp=80", "service/l created"),
        ("create service externalname e --external-name=example.com", "service/e created"),
        (
            "create ingress i --class=c --rule='x.example.com/a*=c:80,tls=secret'",
            "ingress.networking.k8s.io/i created",
        ),
        ("run pod --image=busybox --labels=app=pod --env=A=b --port=80 --expose", "service/pod created"),
        ("run once --image=busybox --restart=Never --command -- sleep 1", "pod/once created"),
        ("expose deployment web --name=exposed --port=80 --target-port=http", "service/exposed exposed"),
        ("expose pod pod --name=again --port=81", "service/again exposed"),
        (
            "autoscale deployment web --min=1 --max=3 --cpu-percent=80",
            "horizontalpodautoscaler.autoscaling/web autoscaled",
        ),
    ] {
        // What follows `--` is the container's.
        let (command, arguments) = line.split_once(" -- ").unwrap_or((line, ""));
        let with = |flags: &str| match arguments {
            "" => format!("{command} {flags}"),
            arguments => format!("{command} {flags} -- {arguments}"),
        };
        s.does(&with("--dry-run=server -o yaml"), "apiVersion: ");
        s.does(line, says);
        s.refuses(&with("--dry-run=server"), "already ");
    }
    for (object, path, value) in [
        ("cm literal", ".data.c", "d e"),
        ("cm folder", ".data.one\\.conf", "a=1"),
        ("secret plain", ".type", "example.com/kind"),
        ("secret pull", ".type", "kubernetes.io/dockerconfigjson"),
        ("deployment web", ".spec.template.spec.containers[*].name", "nginx busybox"),
        ("job once", ".spec.template.spec.restartPolicy", "Never"),
        ("job from", ".metadata.ownerReferences[0].kind", "CronJob"),
        ("quota q", ".spec.hard.pods", "500"),
        ("pdb h", ".spec.maxUnavailable", "50%"),
        ("priorityclass high", ".preemptionPolicy", "Never"),
        ("role reader", ".rules[*].apiGroups[0]", " apps"),
        ("rolebinding rb", ".subjects[*].kind", "User Group ServiceAccount"),
        ("service c", ".spec.ports[*].port", "80 443"),
        ("service headless", ".spec.clusterIP", "None"),
        ("service n", ".spec.ports[0].nodePort", "30080"),
        ("service l", ".spec.allocateLoadBalancerNodePorts", "true"),
        ("ingress i", ".spec.rules[0].http.paths[0].pathType", "Prefix"),
        ("pod once", ".spec.containers[0].command", "[\"sleep\",\"1\"]"),
        ("service exposed", ".spec.selector.app", "web"),
        ("hpa web", ".spec.metrics[0].resource.target.averageUtilization", "80"),
        ("horizontalpodautoscalers.v1.autoscaling web", ".spec.targetCPUUtilizationPercentage", "80"),
    ] {
        s.shows(&format!("get {object} -o jsonpath='{{{path}}}'"), value);
    }
    let token = s.run("create token robot --duration=1h --audience=https://example.com");
    s.expect(token.success && token.stdout.split('.').count() == 3, &format!("a token: {}", token.stderr));
    s.does("create token default --bound-object-kind=Pod --bound-object-name=once", ".");
    s.refuses("create token nobody", "serviceaccounts \"nobody\" not found");
    s.refuses("create token robot --duration=1s", "may not specify a duration less than 10 minutes");
    s.end();
}

#[test]
fn generators_are_refused_by_the_server() {
    let mut s = Session::new();
    for (line, says) in [
        ("create ns UPPER", "a lowercase RFC 1123 label must consist of"),
        ("create cm x --from-literal=a=b -n nowhere", "namespaces \"nowhere\" not found"),
        ("create deployment web --image=''", "spec.template.spec.containers: Required value"),
        ("create quota q --hard=pods=-1", "must be greater than or equal to 0"),
        (
            "create service nodeport n --tcp=80 --node-port=80",
            "provided port is not in the valid range. The range of valid ports is 30000-32767",
        ),
        (
            "create service clusterip c --tcp=80 --clusterip=1.2.3.4",
            "failed to allocate IP 1.2.3.4: the provided network does not match the current range",
        ),
        ("create service externalname e --external-name=-bad-", "invalid service external name -bad-"),
        ("create cronjob c --image=x --schedule='never'", "spec.schedule: Invalid value: \"never\""),
        (
            "create priorityclass system-x --value=1",
            "priority class names with 'system-' prefix are reserved",
        ),
        (
            "create priorityclass p --value=2000000000",
            "maximum allowed value of a user defined priority is 1000000000",
        ),
        ("create clusterrolebinding b --clusterrole='' --user=u", "clusterrole"),
        ("create pdb p --selector=app=web --min-available=101%", "must not be greater than 100%"),
        ("run pod --image=busybox --port=70000", "must be between 1 and 65535"),
    ] {
        s.refuses(line, says);
    }
    s.end();
}
