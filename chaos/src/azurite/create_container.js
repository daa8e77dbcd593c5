// Creates a container in Azurite: port, account, key and container are the arguments. The product
// never creates one, so that this needs a signature of its own.
const [port, account, key, container] = process.argv.slice(1);
const date = new Date().toUTCString();
const path = `/${account}/${container}`;
const headers = { 'x-ms-date': date, 'x-ms-version': '2021-08-06', 'content-length': '0' };
const text = 'PUT' + '\n'.repeat(12) + `x-ms-date:${date}\nx-ms-version:2021-08-06\n/${account}${path}\nrestype:container`;
const sign = require('crypto').createHmac('sha256', Buffer.from(key, 'base64')).update(text).digest('base64');
headers.authorization = `SharedKey ${account}:${sign}`;
const options = { host: '127.0.0.1', port, method: 'PUT', path: path + '?restype=container', headers };
const fail = (why) => { console.error(why); process.exitCode = 1; };
require('http').request(options, (answer) => {
  // 409: an earlier try had created it.
  if (![201, 409].includes(answer.statusCode)) fail(`HTTP status ${answer.statusCode}`);
  answer.resume();
}).on('error', (error) => fail(error.message)).end();
