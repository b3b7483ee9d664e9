//! Everyday cases besides: a hotline, a number that an agent dials by hand, and a large batch.

use http::HeaderValue;

use super::{
    client::EndpointClient,
    numbers::{HOTLINE, Numbers},
    reply::Item,
    report::{Check, Report},
    trouble::Trouble,
};
use crate::item::Mode;

/// Judges each of these on its own.
pub(super) async fn check(client: &mut EndpointClient, report: &mut Report, login: &HeaderValue, numbers: &Numbers) {
    check_batch(client, report, login, numbers).await;
    if numbers.are_chinese() {
        check_hotline(client, report, login).await;
    } else {
        report.not_applicable(Check::Hotline, "no Chinese numbers are tried");
    }
    check_plain_number(client, report, login, numbers).await;
}

/// The values of `inputs`, in the same order.
async fn values(
    client: &mut EndpointClient,
    login: &HeaderValue,
    mode: Mode,
    inputs: &[&str],
) -> Result<Vec<Option<String>>, Trouble> {
    let (_, results) = client.ask(Some(login), mode, inputs).await.and_then(|reply| reply.results())?;
    let value = |(at, input): (usize, &&str)| {
        let of_key = results.iter().find(|item| item.key == **input);
        of_key.or_else(|| results.get(at)).and_then(Item::value).map(str::to_owned)
    };
    Ok(inputs.iter().enumerate().map(value).collect())
}

async fn check_batch(client: &mut EndpointClient, report: &mut Report, login: &HeaderValue, numbers: &Numbers) {
    let batch = numbers.batch();
    let remedy = "map a hundred numbers in one request, as CCC sends them when a page of records is opened";
    let written: Vec<&str> = batch.iter().map(|(written, _)| &**written).collect();
    let uids = match values(client, login, Mode::PhoneToUid, &written).await {
        Ok(uids) => uids.into_iter().map(Option::unwrap_or_default).collect::<Vec<_>>(),
        Err(trouble) => return report.trouble(Check::Batch, &trouble.of_request("PhoneToUID"), remedy),
    };
    let uids: Vec<&str> = uids.iter().map(String::as_str).collect();
    match values(client, login, Mode::UidToPhone, &uids).await {
        Err(trouble) => report.trouble(Check::Batch, &trouble.of_request("UIDToPhone"), remedy),
        Ok(phones) => {
            let comes_back = |(phone, (_, national)): &(Option<String>, &(String, String))| {
                phone.as_ref().is_some_and(|phone| phone.ends_with(national))
            };
            match phones.into_iter().zip(&batch).filter(|pair| !comes_back(pair)).count() {
                0 => report.good(Check::Batch, "yes, in both modes"),
                lost => report.bad(Check::Batch, format!("{lost} of {} do not come back", batch.len()), remedy),
            }
        }
    }
}

async fn check_hotline(client: &mut EndpointClient, report: &mut Report, login: &HeaderValue) {
    let mut ask = async |mode, input: &str| {
        let values = values(client, login, mode, &[input]).await?;
        values.into_iter().next().flatten().ok_or_else(|| Trouble::only("no Value"))
    };
    let phone = match ask(Mode::PhoneToUid, HOTLINE).await {
        Ok(uid) => ask(Mode::UidToPhone, &uid).await,
        Err(reason) => Err(reason),
    };
    match phone {
        Ok(phone) if phone.ends_with(HOTLINE) => report.good(Check::Hotline, "yes"),
        Ok(_) => report.bad(Check::Hotline, "as another number", "leave the digits of a hotline as they are"),
        Err(trouble) => {
            report.trouble(Check::Hotline, &trouble, "a hotline such as a bank's calls in, too: give it a UID")
        }
    }
}

/// Checks what UIDToPhone does with a plain number, which CCC sends when an agent dials by hand.
async fn check_plain_number(client: &mut EndpointClient, report: &mut Report, login: &HeaderValue, numbers: &Numbers) {
    let [(number, _), ..] = numbers.as_ccc_writes_them();
    let dialled = number.dialled();
    match values(client, login, Mode::UidToPhone, &[&dialled]).await.map(|mut values| values.pop().flatten()) {
        Ok(None) => report.good(Check::PlainNumber, "refused: agents dial UIDs only"),
        Ok(Some(value)) if value == dialled => {
            report.good(Check::PlainNumber, "passed: agents may dial numbers by hand");
        }
        Ok(Some(_)) => report.bad(
            Check::PlainNumber,
            "it becomes another number",
            "refuse a number where a UID is wanted, or give it back as it is dialled",
        ),
        Err(reason) => report.good(Check::PlainNumber, format!("refused, with its whole request: {reason}")),
    }
}
