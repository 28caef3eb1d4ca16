import sys

import boto3

_, base = sys.argv[1:]
s3 = boto3.client(
    "s3", endpoint_url=base + "/s3", region_name="us-east-1", aws_access_key_id="a", aws_secret_access_key="b"
)
s3.put_object(Bucket="bucket", Key="sample", Body=b"sample")
print(s3.get_object(Bucket="bucket", Key="zen")["Body"].read().decode(), end="")
